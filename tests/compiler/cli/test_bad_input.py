"""Every way to get it wrong: one message that names it, the right exit code, no leftovers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from attnc.compiler.manifest import content_digest

pytestmark = pytest.mark.usefixtures("importable_data")

DATA = Path(__file__).resolve().parents[2] / "data"
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


# --- names and options ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shvit_s5"], ["unknown model 'shvit_s5'", "did you mean 'shvit_s"]),
        (["shvit_s1", "--target", "cpuu"], ["unknown target 'cpuu'", "did you mean cpu"]),
        (["shvit_s1", "--profile", "nativ"], ["unknown profile 'nativ'", "did you mean native"]),
        (["shvit_s1", "--batch", "0"], ["--batch '0'"]),
        (["shvit_s1", "--batch", "-1"], ["--batch '-1'"]),
        (["shvit_s1", "--batch", "some"], ["--batch 'some'"]),
        (["shvit_s1", "--image-size", "0"], ["--image-size '0'"]),
        (["shvit_s1", "--image-size", "big"], ["--image-size 'big'"]),
        (["shvit_s1", "--image-size", "32"], ["32x32", "at least 64"]),
        (["shvit_s1", "--num-classes", "0"], ["classes"]),
        (["shvit_s1", "--checkpoint", "none.pth"], ["none.pth"]),
        (["no_such_package.nets:build"], ["no_such_package"]),
        (["tiny_net:no_such_factory"], ["no_such_factory"]),
        (["none.onnx"], ["none.onnx"]),
        (["none.pt2"], ["none.pt2"]),
        (["tiny_net:build", "--labels", "none.txt"], ["none.txt"]),
        (["tiny_net:build", "--option", "classes"], ["--option 'classes'", "KEY=VALUE"]),
        (["tiny_net:build", "--option", "colour=red"], ["colour"]),
    ],
)
def test_names_and_options(cli: Any, tmp_path: Path, arguments: list[str], said: list[str]) -> None:
    done = cli("export", *arguments, "-o", tmp_path / "out")
    lines = [line for line in done.err.splitlines() if not line.startswith("[")]
    one_message(done, USAGE, *said)
    assert len(lines) <= 4, done.err
    assert leftovers(tmp_path) == []


def test_unknown_things_of_other_commands(cli: Any, tiny_bundle: Path) -> None:
    one_message(cli("bench", tiny_bundle, "--against", "ortt"), USAGE, "'ortt'", "'ort'")
    one_message(cli("bench", tiny_bundle, "--threads", "0"), USAGE, "--threads '0'")
    one_message(cli("bench", tiny_bundle, "--threads", ","), USAGE, "--threads")
    one_message(cli("explain", "shvit_s9"), USAGE, "shvit_s9")
    assert cli("list", "colours").code == USAGE
    assert cli("exprt").code == USAGE
    assert cli("export", "shvit_s1").code == USAGE


def test_output_exists_with_other_content(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    done = cli("export", "tiny_net:build", "-o", tmp_path / "out")
    one_message(done, USAGE, "exists and is not empty", "--force")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"
    assert cli("export", "tiny_net:build", "-o", tmp_path / "out", "--force").code == 0
    assert not (tmp_path / "out" / "thesis.txt").exists()
    assert leftovers(tmp_path) == ["out"]


def test_json_file_that_cannot_be_written(cli: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    done = cli("verify", tiny_bundle, "--json", tmp_path / "none" / "report.json")
    one_message(done, USAGE, "cannot write", "report.json")


# --- checkpoints ---------------------------------------------------------------------------------


def write_checkpoint(kind: str, path: Path) -> None:
    import torch

    from attnc.model_defs.registry import build_model

    if kind == "other model":
        torch.save({"model": build_model("shvit_s2").state_dict()}, path)
    elif kind == "truncated":
        torch.save({"model": build_model("shvit_s1").state_dict()}, path)
        path.write_bytes(path.read_bytes()[:100_000])
    elif kind == "pickled objects":
        torch.save({"model": Path("x")}, path)
    elif kind == "text":
        path.write_text("weights")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("other model", "not one of shvit_s1"),
        ("truncated", "truncated"),
        ("pickled objects", "pickled objects"),
        ("text", "no torch file"),
    ],
)
def test_checkpoints(cli: Any, tmp_path: Path, kind: str, said: str) -> None:
    write_checkpoint(kind, tmp_path / "weights.pth")
    options = ["--checkpoint", tmp_path / "weights.pth", "-o", tmp_path / "out"]
    one_message(cli("export", "shvit_s1", *options), USAGE, said)
    assert leftovers(tmp_path) == ["weights.pth"]


# --- ONNX files ----------------------------------------------------------------------------------


def write_onnx(path: Path, shape: list[Any], op: str = "Relu", **node: Any) -> onnx.ModelProto:
    weight = onnx.numpy_helper.from_array(np.ones(1, np.float32), "w")
    nodes = [
        helper.make_node("Mul", ["input", "w"], ["h"]),
        helper.make_node(op, ["h"], ["logits"], **node),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [weight],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    path.write_bytes(model.SerializeToString())
    return model


def not_onnx(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 certainly not a model")


def truncated(path: Path) -> None:
    write_onnx(path, [1, 3, 8, 8])
    path.write_bytes(path.read_bytes()[:-40])


def foreign_operator(path: Path) -> None:
    write_onnx(path, [1, 3, 8, 8], "Frobnicate", domain="mine")


def unknown_operator(path: Path) -> None:
    write_onnx(path, [1, 3, 8, 8], "Frobnicate")


def dynamic_height(path: Path) -> None:
    write_onnx(path, [1, 3, "height", 8])


def missing_data(path: Path) -> None:
    model = write_onnx(path, [1, 3, 8, 8])
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "weights.bin", offset=0, length=4)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("write", "code", "said"),
    [
        (not_onnx, USAGE, "not an ONNX model"),
        (truncated, USAGE, "not an ONNX model"),
        (foreign_operator, UNSUPPORTED, "mine::Frobnicate"),
        (unknown_operator, UNSUPPORTED, "Frobnicate"),
        (dynamic_height, UNSUPPORTED, "height"),
        (missing_data, USAGE, "weights.bin"),
    ],
)
def test_onnx_files(
    cli: Any, tmp_path: Path, write: Callable[[Path], None], code: int, said: str
) -> None:
    write(tmp_path / "net.onnx")
    one_message(cli("export", tmp_path / "net.onnx", "-o", tmp_path / "out"), code, said)
    assert leftovers(tmp_path) == ["net.onnx"]


# --- pictures ------------------------------------------------------------------------------------


def picture(kind: str, folder: Path) -> Path:
    path = folder / ("a.png" if kind in {"16-bit", "1x1"} else "a.jpg")
    if kind == "16-bit":
        Image.fromarray(np.zeros((32, 32), np.uint16)).save(path)
    elif kind == "CMYK":
        Image.new("CMYK", (32, 32)).save(path)
    elif kind == "1x1":
        Image.new("RGB", (1, 1)).save(path)
    elif kind == "text":
        path.write_text("a thousand words")
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("16-bit", "more than 8 bits"),
        ("CMYK", "CMYK"),
        ("1x1", "1x1"),
        ("text", "not a picture"),
        ("missing", "no picture"),
    ],
)
def test_pictures(cli: Any, shvit_bundle: Path, tmp_path: Path, kind: str, said: str) -> None:
    path = picture(kind, tmp_path)
    one_message(cli("run", shvit_bundle, path), USAGE, said, path.name)


def test_one_picture_for_a_bundle_of_two(cli: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    one_message(cli("run", tiny_bundle, tmp_path / "a.png"), USAGE, "2 pictures at once")


# --- bundles -------------------------------------------------------------------------------------


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


# --- interruptions -------------------------------------------------------------------------------

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
