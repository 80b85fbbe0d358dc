"""`attnc device run` on the command line: the options, the messages, the exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ([], 2, "one way to the device is needed"),
        (["--adb", "--ssh", "x"], 2, "one way to the device is needed"),
        (["--adb"], 4, "ONNX Runtime is not given"),
        (["--ssh", "x", "--ort", "absent.so"], 4, "no such ONNX Runtime"),
        (["--ssh", "-x", "--ort", __file__], 2, "is no host"),
        (["--ssh", "x", "--format", "ort"], 2, "no model in ORT format"),
        (["--ssh", "x", "--ort", __file__, "--cpus", "a"], 2, "names no cores"),
    ],
)
def test_what_is_wrong_is_told(
    cli: Any, tiny_bundle: Path, options: list[str], code: int, text: str
) -> None:
    done = cli("device", "run", tiny_bundle, *options)
    assert done.code == code
    assert text in done.err


def test_no_adb(cli: Any, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = cli("device", "run", tiny_bundle, "--serial", "P1", "--ort", __file__)
    assert done.code == 4
    assert "no program adb" in done.err
