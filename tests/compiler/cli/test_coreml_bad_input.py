"""What Core ML's side refuses: one message, the right exit code, nothing left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cli_messages import MISSING, UNSUPPORTED, USAGE, one_message
from onnx import TensorProto, helper

import attnc
from attnc.compiler.bundle import file_sha256
from attnc.compiler.errors import UnsupportedError
from attnc.compiler.manifest import content_digest

pytest.importorskip("coremltools")
pytestmark = pytest.mark.usefixtures("importable_data")

FAILED = 1
DATA = str(Path(__file__).resolve().parents[2] / "data")
MODEL = "model.mlpackage/Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In float16; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DATA)
        output = tmp_path_factory.mktemp("coreml") / "b"
        attnc.export("tiny_net:build", output=output, target="coreml")
    return output


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--precision", "bf16"], ["no precision 'bf16'", "fp16, fp32, int8w"]),
        (["--profile", "native"], ["unknown profile 'native' for target coreml", "iphone15"]),
        (["--profile", "iphone51"], ["did you mean iphone"]),
        (["--profile", "none.toml"], ["not a device profile", "none.toml"]),
        (["--metadata", "author"], ["--metadata 'author'", "KEY=VALUE"]),
        (["--metadata", "=x"], ["--metadata '=x'"]),
        (["--metadata", "a=1", "--metadata", "a=2"], ["--metadata 'a=2'", "each key once"]),
        (["--metadata", "attnc.manifest=x"], ["'attnc.manifest' is written by attnc"]),
    ],
)
def test_options(cli: Any, tmp_path: Path, options: list[str], said: list[str]) -> None:
    done = cli("export", "tiny_net:build", "--target", "coreml", *options, "-o", tmp_path / "b")
    one_message(done, USAGE, *said, *([] if "none.toml" in options else ["try:"]))
    assert list(tmp_path.iterdir()) == []


def test_metadata_is_for_core_ml(cli: Any, tmp_path: Path) -> None:
    done = cli("export", "tiny_net:build", "--metadata", "author=x", "-o", tmp_path / "b")
    one_message(done, USAGE, "target cpu has no place for metadata", "--target coreml")


def test_labels_of_a_free_batch(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("".join(f"thing {n}\n" for n in range(10)))
    how = ["--target", "coreml", "--batch", "dynamic", "--labels", tmp_path / "labels.txt"]
    done = cli("export", "tiny_net:build", *how, "-o", tmp_path / "b")
    one_message(done, UNSUPPORTED, "one at a time", "--batch 1")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.txt"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([f"thing {n}" for n in range(9)], ["names 9 classes, the model has 10"]),
        (["crane", *"abcdefgh", "crane"], ["two classes have the label 'crane'", "(bird)"]),
    ],
)
def test_labels(cli: Any, tmp_path: Path, names: list[str], said: list[str]) -> None:
    (tmp_path / "labels.txt").write_text("".join(f"{name}\n" for name in names))
    how = ["--target", "coreml", "--labels", tmp_path / "labels.txt"]
    one_message(cli("export", "tiny_net:build", *how, "-o", tmp_path / "b"), USAGE, *said)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.txt"]


# --- profiles ------------------------------------------------------------------------------------


def write_profile(path: Path, target: str = "coreml", table: str = "") -> Path:
    path.write_text(f'target = "{target}"\ndescription = "x"\nplatforms = []\n{table}')
    return path


@pytest.mark.parametrize(
    ("target", "table", "said"),
    [
        ("coreml", "[coreml]\nios = 14\n", "15, 16, 17 or 18"),
        ("coreml", "", "no [coreml] table"),
        ("cpu", "", "for target cpu, not coreml"),
    ],
)
def test_profiles(cli: Any, tmp_path: Path, target: str, table: str, said: str) -> None:
    profile = write_profile(tmp_path / "mine.toml", target, table)
    how = ["--target", "coreml", "--profile", profile]
    one_message(cli("export", "tiny_net:build", *how, "-o", tmp_path / "b"), USAGE, said)
    assert not (tmp_path / "b").exists()


def write_onnx(path: Path, *nodes: onnx.NodeProto, **arrays: Any) -> Path:
    """A file from `input` [1, 3, 8, 8] to `logits` [1, 3]."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        [onnx.numpy_helper.from_array(np.array(held), name) for name, held in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def test_an_operation_that_an_older_ios_lacks(cli: Any, tmp_path: Path) -> None:
    file = write_onnx(
        tmp_path / "net.onnx",
        helper.make_node("GatherND", ["input", "i"], ["x"], batch_dims=1, name="pick/gather"),
        helper.make_node("ReduceMean", ["x", "axes"], ["logits"], keepdims=0),
        i=[[[0], [1], [2]]],
        axes=[2, 3],
    )
    profile = write_profile(tmp_path / "old.toml", table="[coreml]\nios = 15\n")
    how = ["--target", "coreml", "--profile"]
    for command in (["export", file, "-o", tmp_path / "b"], ["explain", file]):
        done = cli(*command, *how, profile)
        one_message(done, UNSUPPORTED, "iOS 15", "GatherND pick/gather", "iOS 16")
    assert not (tmp_path / "b").exists()
    assert cli("explain", file, *how, "iphone12").code == 0


def test_an_operator_without_a_form(cli: Any, tmp_path: Path) -> None:
    node = helper.make_node("Det", ["input"], ["logits"], name="how/big")
    file = write_onnx(tmp_path / "net.onnx", node)
    for command in (["export", file, "-o", tmp_path / "b"], ["explain", file]):
        done = cli(*command, "--target", "coreml")
        one_message(done, UNSUPPORTED, "Det has no form in Core ML", "how/big", "try:")
    assert not (tmp_path / "b").exists()


# --- without coremltools -------------------------------------------------------------------------


def test_without_coremltools(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['coremltools'] = None\n"
        f"sys.path.insert(0, {DATA!r})\n"
        "from attnc.compiler.cli.main import app; app(sys.argv[1:])\n"
    )

    def export(target: str) -> subprocess.CompletedProcess[str]:
        words = ["export", "tiny_net:build", "--target", target, "-o", str(tmp_path / target)]
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = export("coreml")
    assert done.returncode == MISSING, done.stderr
    assert "pip install 'attnc[coreml]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert export("cpu").returncode == 0


# --- bundles -------------------------------------------------------------------------------------


def reseal(folder: Path, change: Callable[[dict[str, Any]], None] = lambda document: None) -> None:
    """Give the manifest the hashes of the files as they are now."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    for entry in document["files"]:
        file = folder / entry["path"]
        entry.update(sha256=file_sha256(file), bytes=file.stat().st_size)
    document["digest"] = content_digest(document)
    path.write_text(json.dumps(document))


def failed(done: Any) -> set[str]:
    assert done.code == FAILED, done.err
    report = json.loads(done.out)
    assert not report["ok"]
    return {check["name"] for check in report["checks"] if check["status"] == "failed"}


@pytest.mark.parametrize("name", [MODEL, WEIGHTS, "origins.json", "model.mlpackage/Manifest.json"])
@pytest.mark.parametrize("how", ["truncated", "edited", "gone"])
def test_a_file_that_is_not_the_exported_one(cli: Any, copy: Path, name: str, how: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data if how == "edited" else data[:-100])
    if how == "gone":
        (copy / name).unlink()
    for command in ("verify", "mil", "bench"):
        one_message(cli(command, copy), USAGE, name)


def test_an_edited_manifest(cli: Any, copy: Path) -> None:
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"ios": 17', '"ios": 16'))
    one_message(cli("verify", copy), USAGE, "manifest.json")


def test_a_manifest_for_another_package(cli: Any, copy: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["coreml"]["placement"] = {}

    reseal(copy, change)
    found = failed(cli("verify", copy, "--json", "-"))
    assert found == {"mlprogram.manifest", "mlprogram.placement"}


def test_a_wrong_weight_is_found(cli: Any, copy: Path) -> None:
    data = np.frombuffer((copy / WEIGHTS).read_bytes(), np.float16).copy()
    largest = np.argmax(np.where(np.abs(data[64:]) < 1, np.abs(data[64:]), 0)) + 64
    data[largest] = 30.0
    (copy / WEIGHTS).write_bytes(data.tobytes())
    reseal(copy)
    found = failed(cli("verify", copy, "--json", "-"))
    assert "mlprogram.parity.fp16" in found
    assert not any("fp32" in name for name in found), "the lowering itself is right"


@pytest.mark.parametrize("name", [MODEL, WEIGHTS])
def test_a_package_cut_short(cli: Any, copy: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:100])
    done = cli("mil", copy / "model.mlpackage")
    one_message(done, USAGE, Path(name).name, "at:", "try:")


def test_a_foreign_operation_is_listed_but_not_evaluated(cli: Any, copy: Path) -> None:
    from coremltools.proto import Model_pb2

    from attnc.runtimes.coreml.evaluator import Evaluator
    from attnc.runtimes.coreml.package import open_package

    model = Model_pb2.Model()
    model.ParseFromString((copy / MODEL).read_bytes())
    (block,) = model.mlProgram.functions["main"].block_specializations.values()
    next(each for each in block.operations if each.type == "relu").type = "reluctance"
    (copy / MODEL).write_bytes(model.SerializeToString())
    done = cli("mil", copy / "model.mlpackage")
    assert done.code == 0, done.err
    assert "= reluctance(" in done.out
    with pytest.raises(UnsupportedError, match="reluctance"):
        Evaluator(open_package(copy / "model.mlpackage")).run({})


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["verify", "--sm", "86"], "--sm is for TensorRT bundles; this one is for coreml"),
        (["bench", "--threads", "1"], "--threads means nothing for a Core ML bundle"),
        (["bench", "--against", ","], "--against is empty"),
    ],
)
def test_options_of_other_targets(cli: Any, bundle: Path, command: list[str], said: str) -> None:
    one_message(cli(command[0], bundle, *command[1:]), USAGE, said)
