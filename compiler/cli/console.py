"""What the command line writes, and where: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attnc.compiler.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


def note(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def write_json(document: Any, to: str | None) -> None:
    """Write a report to the file `to`, or to stdout for `-`; does nothing for None."""
    if to is None:
        return
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if to == "-":
        sys.stdout.write(text)
        return
    from attnc.compiler.staging import write_text

    write_text(Path(to), text)


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout; columns of numbers are right-aligned."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for index, column in enumerate(columns):
        cells = [row[index] for row in rows]
        justify: Literal["left", "right"] = "right" if _are_numbers(cells) else "left"
        table.add_column(column, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*[_plain(cell) for cell in row])
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _are_numbers(cells: list[str]) -> bool:
    return any(cells) and all(not cell or cell[0].isdigit() for cell in cells)


def _plain(cell: str) -> Any:
    from rich.text import Text

    return Text(cell)


@contextmanager
def progress() -> Iterator[Progress]:
    """Bars on a terminal, one line per stage elsewhere."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    with RichProgress(*columns, console=Console(stderr=True)) as shown:
        bars = Bars(shown)
        yield bars
        bars.finish()


class Lines:
    """Says each stage in a line, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def stage(self, text: str, total: int | None = None) -> None:
        """One line."""
        note(f"[{time.monotonic() - self._start:6.1f} s] {text}")

    def advance(self, steps: int = 1) -> None:
        """Lines do not move."""


class Bars:
    """One bar per stage; a stage without a count pulses."""

    def __init__(self, shown: RichProgress) -> None:
        self._shown = shown
        self._task: TaskID | None = None

    def stage(self, text: str, total: int | None = None) -> None:
        """End the last bar and begin another."""
        self.finish()
        self._task = self._shown.add_task(text, total=total)

    def advance(self, steps: int = 1) -> None:
        """Move the bar."""
        if self._task is not None:
            self._shown.advance(self._task, steps)

    def finish(self) -> None:
        """Fill the bar of the stage that ends."""
        if self._task is not None:
            task = self._shown.tasks[self._task]
            total = task.total if task.total is not None else 1
            self._shown.update(self._task, total=total, completed=total)
