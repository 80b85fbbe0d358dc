"""Bundles that were edited, are newer, or are for another machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_messages import MISSING, UNSUPPORTED, USAGE, one_message
from PIL import Image

from attnc.compiler.manifest import content_digest

pytestmark = pytest.mark.usefixtures("importable_data")

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    edit(document)
    document["digest"] = content_digest(document)
    path.write_text(json.dumps(document))


COMMANDS = [["verify"], ["bench"], ["run", "photo.jpg"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_bundle_edited_by_hand(cli: Any, copy: Path, command: list[str]) -> None:
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"\0")
    done = cli(command[0], copy, *command[1:])
    one_message(done, USAGE, "model.onnx", "hash")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_manifest_of_a_newer_version(cli: Any, copy: Path, command: list[str]) -> None:
    edit_manifest(copy, lambda document: document.update(version=99, whatever=1))
    done = cli(command[0], copy, *command[1:])
    one_message(done, UNSUPPORTED, "version 99", "install a newer attnc")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_no_bundle_at_all(cli: Any, tmp_path: Path, command: list[str]) -> None:
    done = cli(command[0], tmp_path / "none", *command[1:])
    one_message(done, USAGE, "no bundle at")


def for_another_machine(document: dict[str, Any]) -> None:
    for library in document["kernels"]:
        library["target"] = "linux-riscv64"


def test_kernel_library_for_another_cpu(
    cli: Any, shvit_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import attnc
    from attnc.compiler.errors import MissingRuntimeError

    copy = Path(shutil.copytree(shvit_bundle, tmp_path / "copy"))
    edit_manifest(copy, for_another_machine)
    Image.new("RGB", (80, 64)).save(tmp_path / "a.png")
    done = cli("run", copy, tmp_path / "a.png")
    one_message(done, MISSING, "linux-riscv64", "--no-kernels")
    with pytest.raises(MissingRuntimeError, match="linux-riscv64"):
        attnc.open(copy)
    assert cli("run", copy, tmp_path / "a.png", "--no-kernels").code == 0
    done = cli("verify", copy, "--json", "-")
    report = json.loads(done.out)
    (library,) = [c for c in report["checks"] if c["name"] == "library/linux-riscv64"]
    assert library["status"] == "build-only"
    assert report["ok"], "the bodies were verified"


def test_kernel_library_that_does_not_load(cli: Any, shvit_bundle: Path, tmp_path: Path) -> None:
    from attnc.compiler.bundle import file_sha256

    copy = Path(shutil.copytree(shvit_bundle, tmp_path / "copy"))
    (library,) = (copy / "kernels").iterdir()
    library.write_bytes(b"\x7fELF of something else")

    def reseal(document: dict[str, Any]) -> None:
        for entry in document["files"]:
            if entry["path"].startswith("kernels/"):
                entry.update(sha256=file_sha256(library), bytes=library.stat().st_size)

    edit_manifest(copy, reseal)
    Image.new("RGB", (80, 64)).save(tmp_path / "a.png")
    one_message(cli("run", copy, tmp_path / "a.png"), MISSING, library.name, "cannot be loaded")
