"""Keeps other people's prints, warnings and logs off our standard output."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what exporters say; their failures still arrive as exceptions."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


@contextlib.contextmanager
def prints_to_stderr() -> Iterator[None]:
    """Let users' own code print, but not where `--json -` writes."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def one_line(error: BaseException) -> str:
    """Type and first line of an exception, for messages."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
