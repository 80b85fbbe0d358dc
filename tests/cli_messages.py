"""What a command says when something is wrong: one message, the right exit code, no leftovers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

USAGE, UNSUPPORTED, MISSING = 2, 3, 4


def one_message(done: Any, code: int, *said: str) -> None:
    assert done.code == code, (done.code, done.err)
    assert done.out == ""
    lines = done.err.splitlines()
    assert sum(line.startswith("error:") for line in lines) == 1, done.err
    for text in said:
        assert text in done.err, done.err


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
