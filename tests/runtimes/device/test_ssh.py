"""A bundle on a board over ssh: a real server, a real runner, and every way to fail."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from board_bundles import ort_library
from board_sshd import server

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError, MissingRuntimeError, UnsupportedError, UsageError
from attnc.runtimes.device.request import Request, find_ort, model_file
from attnc.runtimes.device.run import run_on_device
from attnc.runtimes.device.ssh import SshShell


def quick(**changes: object) -> Request:
    settings = {"ort": ort_library(), "iterations": 3, "seconds": 0.0, "warmup": 1}
    return Request(**{**settings, "max_temperature": 80.0, **changes})


def no_source():
    raise UsageError("the source is not here")


def left_behind() -> set[Path]:
    return set(Path("/tmp").glob("attnc-*/files")) | set(Path("/tmp").glob("attnc-kept"))


def test_a_bundle_runs_and_leaves_nothing(bundle: Bundle, config: Path) -> None:
    before = left_behind()
    report = run_on_device(bundle, lambda: SshShell("board", config), quick(cpus="0"), no_source)
    assert left_behind() == before
    assert report["ok"], report["checks"]
    parity = [c for c in report["checks"] if c["name"].startswith("parity/")]
    assert len(parity) == len(bundle.manifest.reference)
    assert all(0 <= c["value"] <= c["limit"] for c in parity)
    (row,) = report["results"]
    assert row["n"] == 3
    assert min(row["samples_ms"]) > 0
    assert np.isclose(row["samples_ms"][0], report["device"]["samples_ns"][0] / 1e6, atol=1e-4)
    assert report["footprint"][0]["peak_mb"] > 10
    json.dumps(report)


def test_another_output_fails_the_check(bundle: Bundle, config: Path, tmp_path: Path) -> None:
    from dataclasses import replace
    from shutil import copytree

    copytree(bundle.path, tmp_path / "b")
    changed = replace(bundle, path=tmp_path / "b")
    reference = tmp_path / "b" / changed.manifest.reference[0].path
    np.save(reference, np.load(reference) + 1)
    report = run_on_device(changed, lambda: SshShell("board", config), quick(), no_source)
    assert not report["ok"]
    assert [c["status"] for c in report["checks"] if "seed0" in c["name"]] == ["failed"]


@pytest.mark.parametrize(
    ("command", "kind", "text"),
    [
        (
            'case "$SSH_ORIGINAL_COMMAND" in uname*) echo Linux riscv64;; *) exit 0;; esac',
            UnsupportedError,
            "linux-riscv64",
        ),
        (
            'case "$SSH_ORIGINAL_COMMAND" in *thermal*) echo cpu:91500;; '
            '*) exec sh -c "$SSH_ORIGINAL_COMMAND";; esac',
            AttncError,
            "too hot: 91.5",
        ),
        (
            'case "$SSH_ORIGINAL_COMMAND" in df*) printf "a\\n/dev/x 10 5 2048 1%% /\\n";; '
            '*) exec sh -c "$SSH_ORIGINAL_COMMAND";; esac',
            UsageError,
            "has 2 MB free",
        ),
        (
            'case "$SSH_ORIGINAL_COMMAND" in cd*) exit 139;; '
            '*) exec sh -c "$SSH_ORIGINAL_COMMAND";; esac',
            AttncError,
            "signal SIGSEGV",
        ),
        (
            'case "$SSH_ORIGINAL_COMMAND" in "cat > "*) cat > /dev/null; echo full >&2; exit 1;; '
            '*) exec sh -c "$SSH_ORIGINAL_COMMAND";; esac',
            AttncError,
            "did not take a file",
        ),
        (
            'case "$SSH_ORIGINAL_COMMAND" in cd*) kill -9 $PPID;; '
            '*) exec sh -c "$SSH_ORIGINAL_COMMAND";; esac',
            MissingRuntimeError,
            "was lost",
        ),
    ],
    ids=["architecture", "hot", "space", "crash", "full", "lost"],
)
def test_each_failure_has_its_message(
    bundle: Bundle, tmp_path: Path, command: str, kind: type[AttncError], text: str
) -> None:
    before = left_behind()
    with server(tmp_path, command) as written, pytest.raises(kind, match=text):
        run_on_device(bundle, lambda: SshShell("board", written), quick(), no_source)
    assert left_behind() == before


def test_no_connection(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = tmp_path / "refused"
    refused.write_text("Host board\n  HostName 127.0.0.1\n  Port 1\n")
    with pytest.raises(MissingRuntimeError, match="no ssh server answers"):
        SshShell("board", refused)
    stranger = tmp_path / "stranger"
    stranger.write_text(config.read_text().replace("/known_hosts", "/nobody"))
    with pytest.raises(MissingRuntimeError, match="host key is unknown"):
        SshShell("board", stranger)
    keyless = tmp_path / "keyless"
    lines = [line for line in config.read_text().splitlines() if "IdentityFile" not in line]
    keyless.write_text("\n".join([*lines, f"  IdentityFile {tmp_path}/none\n"]))
    with pytest.raises(MissingRuntimeError, match="accepts none"):
        SshShell("board", keyless)
    with pytest.raises(UsageError, match="no host"):
        SshShell("-oProxyCommand=x")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingRuntimeError, match="no program ssh"):
        SshShell("board", config)


def test_a_library_that_is_no_onnx_runtime(bundle: Bundle, config: Path, tmp_path: Path) -> None:
    (tmp_path / "libonnxruntime.so").write_bytes(b"no library")
    wrong = quick(ort=tmp_path / "libonnxruntime.so")
    with pytest.raises(MissingRuntimeError, match="does not load"):
        run_on_device(bundle, lambda: SshShell("board", config), wrong, no_source)
    with pytest.raises(MissingRuntimeError, match="not given"):
        find_ort(None, "android")
    with pytest.raises(MissingRuntimeError, match="no such"):
        find_ort(tmp_path / "absent", "arm64")
    with pytest.raises(UsageError, match="no model in ORT format"):
        model_file(bundle, "ort")
    with pytest.raises(UsageError, match="names no cores"):
        quick(cpus="four").check()
    with pytest.raises(UsageError, match="cannot pin"):
        run_on_device(bundle, lambda: SshShell("board", config), quick(cpus="63"), no_source)
