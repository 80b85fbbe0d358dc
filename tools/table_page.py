"""The table on a page: rows of a new run replace those of the same models, the others stay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from attnc.compiler.errors import UsageError

MARKS = ("<!-- table -->", "<!-- /table -->")
_MEASURED = re.compile(r"(?:(?P<models>[\w, ]+): m|M)easured (?P<rest>.*)")
_LEFT_OUT = re.compile(r"- (?P<runner>\S+) is not in the rows of (?P<models>[\w, ]+): (?P<rest>.*)")


@dataclass
class Grid:
    """A markdown table: its columns, and rows as dictionaries by column; the first is the model."""

    columns: list[str]
    rows: list[dict[str, str]]

    def text(self) -> str:
        """Markdown; cells that a row does not have are empty."""
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)]]
        lines += [[row.get(column, "") for column in self.columns] for row in self.rows]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


@dataclass
class Content:
    """What stands between the marks: tables, and sentences about some of the models each."""

    grids: list[Grid] = field(default_factory=list)
    sentences: dict[str, list[str]] = field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """Of the rows of the first table, each once."""
        rows = self.grids[0].rows if self.grids else []
        return list(dict.fromkeys(row["model"] for row in rows))


def replace_table(page: str, text: str) -> str:
    """The page with `text` between its marks; UsageError if it has none."""
    begin, end = _between(page)
    return page[:begin] + f"\n{text}\n" + page[end:]


def merge_into(page: str, text: str, order: Sequence[str]) -> str:
    """`text`, and what the page's table says of models that `text` has not; models as in `order`.

    Raises UsageError if the page has no marks.
    """
    begin, end = _between(page)
    old, new = read(page[begin:end]), read(text)
    fresh = set(new.models)
    grids = [
        _merged(grid, new.grids[index] if index < len(new.grids) else None, fresh, order)
        for index, grid in enumerate(old.grids)
    ] + new.grids[len(old.grids) :]
    sentences = {
        sentence: _ordered([name for name in models if name not in fresh], order)
        for sentence, models in old.sentences.items()
    }
    for sentence, models in new.sentences.items():
        sentences[sentence] = _ordered([*sentences.get(sentence, []), *models], order)
    said = [sentence.format(models=", ".join(m)) for sentence, m in sentences.items() if m]
    return "\n\n".join([*(grid.text() for grid in grids), *said])


def read(text: str) -> Content:
    """Tables and sentences of what stands between the marks; other text is left out."""
    content = Content()
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.strip().splitlines()
        if lines and lines[0].startswith("|"):
            content.grids.append(_grid(lines))
            continue
        for line in lines:
            _read_sentence(line, content)
    return content


def _grid(lines: list[str]) -> Grid:
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    return Grid(cells[0], [dict(zip(cells[0], row, strict=True)) for row in cells[2:]])


def _read_sentence(line: str, content: Content) -> None:
    for pattern, form in ((_MEASURED, "{models}: measured "), (_LEFT_OUT, "")):
        match = pattern.fullmatch(line.strip())
        if match is None:
            continue
        models = match["models"].split(", ") if match["models"] else content.models
        rest = match["rest"].replace("{", "{{").replace("}", "}}")
        start = form or f"- {match['runner']} is not in the rows of {{models}}: "
        content.sentences[start + rest] = models


def _merged(old: Grid, new: Grid | None, fresh: set[str], order: Sequence[str]) -> Grid:
    rows = [row for row in old.rows if row["model"] not in fresh]
    columns = old.columns
    if new is not None:
        rows, columns = [*rows, *new.rows], list(dict.fromkeys([*columns, *new.columns]))
    ranks = _ordered([row["model"] for row in rows], order)
    return Grid(columns, sorted(rows, key=lambda row: ranks.index(row["model"])))


def _ordered(models: Iterable[str], order: Sequence[str]) -> list[str]:
    """Each model once, those of `order` first and as there."""
    found = list(dict.fromkeys(models))
    return sorted(found, key=lambda name: order.index(name) if name in order else len(order))


def _between(page: str) -> tuple[int, int]:
    begin, end = page.find(MARKS[0]), page.find(MARKS[1])
    if begin < 0 or end < begin:
        raise UsageError("the page has no place for the table", remedy=f"write {MARKS} into it")
    return begin + len(MARKS[0]), end
