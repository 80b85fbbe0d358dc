"""Exports that end in the middle leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_messages import USAGE, leftovers

pytestmark = pytest.mark.usefixtures("importable_data")

DATA = Path(__file__).resolve().parents[2] / "data"


LIMITED = (
    "import resource, sys\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
    "sys.argv = ['attnc', *sys.argv[1:]]\n"
    "from attnc.compiler.cli.main import main\n"
    "main()\n"
)


def in_process_of_its_own(*command: str) -> subprocess.Popen[str]:
    """Runs Python with `tests/data` importable, unbuffered; stderr can be read."""
    environment = {**os.environ, "PYTHONPATH": str(DATA), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, *command],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=hear_interrupts,  # noqa: PLW1509 (no threads are running)
    )


def hear_interrupts() -> None:
    """A shell's background jobs are started deaf to Ctrl-C, and their children after them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_full_disk(tmp_path: Path) -> None:
    out = str(tmp_path / "new" / "out")
    child = in_process_of_its_own("-c", LIMITED, "export", "tiny_net:build", "-o", out)
    said = child.communicate(timeout=120)[1]
    assert child.returncode == USAGE, said
    assert "error: the disk is full" in said
    assert "Traceback" not in said
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_in_the_middle(tmp_path: Path, number: int, code: int) -> None:
    out = str(tmp_path / "out")
    child = in_process_of_its_own("-m", "attnc", "export", "tiny_net:build_slow", "-o", out)
    assert child.stderr is not None
    for line in child.stderr:
        if "sleeping" in line:
            break
    assert any(name.startswith(".out.partial") for name in leftovers(tmp_path))
    child.send_signal(number)
    said = child.stderr.read()
    assert child.wait(120) == code, said
    assert "Traceback" not in said
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("step", ["_trace", "_run_passes", "_emitter", "_exact", "_manifest"])
def test_interrupted_at_every_step(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    from attnc.compiler.cli import api

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, step, interrupted)
    done = cli("export", "tiny_net:build", "-o", tmp_path / "new" / "out")
    assert done.code == 130
    assert "interrupted" in done.err
    assert leftovers(tmp_path) == []


def test_a_fault_of_ours_says_so(cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from attnc.compiler.cli import api

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(api, "_trace", broken)
    done = cli("export", "tiny_net:build", "-o", tmp_path / "out")
    assert done.code == 70
    assert "ZeroDivisionError" in done.err
    assert "--debug" in done.err
    with pytest.raises(ZeroDivisionError):
        cli("--debug", "export", "tiny_net:build", "-o", tmp_path / "out")
