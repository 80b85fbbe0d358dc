"""A bundle on an Android device: a stand-in for adb, which runs this machine's runner."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from board_bundles import ort_library

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError, MissingRuntimeError, UnsupportedError, UsageError
from attnc.runtimes.device.adb import AdbShell
from attnc.runtimes.device.request import Request
from attnc.runtimes.device.run import run_on_device

FAKE = Path(__file__).with_name("fake_adb.py")
Change = Callable[..., Path]


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Change:
    """`phone(full=True)` sets what is wrong with it; gives the folder that stands for it."""
    program = tmp_path / "bin" / "adb"
    root = tmp_path / "device"
    program.parent.mkdir()
    root.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("FAKE_ADB", str(tmp_path / "state.json"))
    # The runner for this machine stands in for Android's.
    monkeypatch.setattr(AdbShell, "target", abi)

    def change(**changes: Any) -> Path:
        state = {
            "devices": {"P1": "device"},
            "root": str(root),
            "log": str(tmp_path / "log"),
            "abi": "here",
            "free": 10**7,
            "thermal": "cpu-0:41000",
        }
        (tmp_path / "state.json").write_text(json.dumps({**state, **changes}))
        return root

    return change


def abi(shell: AdbShell) -> str:
    found = shell.ask("getprop ro.product.cpu.abi")
    return "linux-x86_64" if found == "here" else f"android-{found}"


def run(bundle: Bundle, serial: str | None = None, **changes: Any) -> dict[str, Any]:
    settings = {"ort": ort_library(), "iterations": 2, "seconds": 0.0, "warmup": 0, **changes}

    def no_source() -> Any:
        raise UsageError("gone")

    return run_on_device(bundle, lambda: AdbShell(serial), Request(**settings), no_source)


def test_it_runs_and_leaves_nothing(bundle: Bundle, phone: Change) -> None:
    root = phone()
    report = run(bundle)
    assert report["ok"]
    assert report["device"]["degrees_before"] == 41.0
    assert list(root.iterdir()) == []


def test_kept_files_are_not_sent_again(bundle: Bundle, phone: Change, tmp_path: Path) -> None:
    root = phone()
    run(bundle, keep=True)
    assert [entry.name for entry in root.iterdir()] == ["attnc-kept"]
    assert len(list((root / "attnc-kept").iterdir())) == 4
    (tmp_path / "log").unlink()
    run(bundle, keep=True)
    sent = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    pushed = [words[4] for words in sent if words[2:3] == ["push"]]
    assert pushed
    assert all("/input" in name for name in pushed)


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"devices": {}}, MissingRuntimeError, "no Android device"),
        ({"devices": {"P1": "unauthorized"}}, MissingRuntimeError, "does not trust"),
        ({"devices": {"P1": "offline"}}, MissingRuntimeError, "is offline"),
        ({"devices": {"P1": "recovery"}}, MissingRuntimeError, "state 'recovery'"),
        ({"devices": {"P1": "device", "P2": "device"}}, UsageError, "several devices"),
        ({"abi": "armeabi-v7a"}, UnsupportedError, "android-armeabi-v7a"),
        ({"thermal": "cpu-0:78500"}, AttncError, "too hot: 78.5"),
        ({"free": 1024}, UsageError, "has 1 MB free"),
        ({"full": True}, AttncError, "No space left"),
        ({"lost_at": "^push .*input0"}, MissingRuntimeError, "was lost"),
        ({"crash": 137}, AttncError, "SIGKILL .out of memory"),
        ({"crash": 127}, MissingRuntimeError, "does not start"),
    ],
)
def test_each_failure_has_its_message(
    bundle: Bundle, phone: Change, changes: dict[str, Any], kind: type[AttncError], text: str
) -> None:
    root = phone(**changes)
    with pytest.raises(kind, match=text):
        run(bundle)
    assert list(root.iterdir()) == []


def test_a_serial_picks(bundle: Bundle, phone: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    phone(devices={"P1": "offline", "P2": "device"})
    assert AdbShell("P2").serial == "P2"
    with pytest.raises(MissingRuntimeError, match="P3 is not connected"):
        AdbShell("P3")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingRuntimeError, match="no program adb"):
        AdbShell()
