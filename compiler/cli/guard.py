"""Turns whatever a command raises into one clear message and the right exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from attnc.compiler.errors import AttncError, ExitCode

INTERRUPTED = 130
CRASHED = 70  # EX_SOFTWARE: a fault of ours, unlike every code that errors.ExitCode names
DEBUG_VARIABLE = "ATTNC_DEBUG"


class GuardedGroup(TyperGroup):
    """The root group: every command below it is guarded."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; errors become messages on stderr."""
        debug = bool(ctx.params.get("debug") or os.environ.get(DEBUG_VARIABLE))
        try:
            with _terminated_like_interrupted():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            fail("interrupted; nothing was left half-written", INTERRUPTED)
        except AttncError as error:
            if debug:
                raise
            fail(f"error: {error.render()}", error.exit_code)
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            # The reader of our output went away, as in `attnc list models | head -1`.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except Exception as error:
            if debug or _is_usage(error):
                raise
            fail(_crash_text(error), _crash_code(error))


def _is_usage(error: Exception) -> bool:
    """Errors of the option parser print themselves, with the usage line."""
    return hasattr(error, "exit_code") and hasattr(error, "format_message")


def _crash_text(error: Exception) -> str:
    from attnc.compiler.staging import is_disk_full

    if is_disk_full(error):
        return "error: the disk is full; nothing was left half-written"
    first = (str(error).strip().splitlines() or [""])[0]
    return (
        f"internal error: {type(error).__name__}: {first}\n"
        "  this is a fault of attnc, not of what you typed\n"
        "  try: the same command as `attnc --debug ...` shows where it happened"
    )


def _crash_code(error: Exception) -> int:
    from attnc.compiler.staging import is_disk_full

    return ExitCode.USAGE if is_disk_full(error) else CRASHED


def fail(text: str, code: int) -> None:
    """Say `text` on stderr and leave with `code`."""
    typer.secho(text, err=True, fg=typer.colors.RED if sys.stderr.isatty() else None)
    raise typer.Exit(int(code))


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that half-written folders go away."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: the embedding program owns the signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
