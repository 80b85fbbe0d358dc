"""Fault drills: a mutated pass, weight or file; verify catches each, and bisect names it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from own_models import export_own, reseal

from attnc.compiler.pipeline import PassResult
from attnc.passes import pipelines

pytestmark = pytest.mark.usefixtures("importable_data")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network's bundle for this machine; not to be changed."""
    folder = tmp_path_factory.mktemp("bisect") / "b"
    return export_own("tiny_net:build_named", folder, target="cpu")


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def flip(folder: Path, bit: int = 29) -> str:
    """Flip a bit in the middle of the largest weight of model.onnx; the weight's name."""
    model = onnx.load(folder / "model.onnx")
    floats = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    tensor = max(floats, key=lambda t: int(np.prod(t.dims)))
    words = numpy_helper.to_array(tensor).copy().view(np.uint32)
    flat = words.reshape(-1)
    place = int(np.flatnonzero(flat)[np.count_nonzero(flat) // 2])
    flat[place] ^= np.uint32(1 << bit)
    tensor.CopyFrom(numpy_helper.from_array(words.view(np.float32), tensor.name))
    onnx.save(model, folder / "model.onnx")
    return str(tensor.name)


def bisect(cli: Any, folder: Path, *options: Any) -> tuple[int, dict[str, Any]]:
    done = cli("bisect", folder, *options, "--json", "-")
    return done.code, json.loads(done.out) if done.out else {}


def test_a_right_bundle(cli: Any, bundle: Path) -> None:
    code, found = bisect(cli, bundle)
    assert (code, found["stage"]) == (0, "nothing")
    assert found["looked"] == ["files", "trace", "passes", "lowering", "kernels"]


def test_a_right_bundle_pass_by_pass_and_block_by_block(cli: Any, bundle: Path) -> None:
    done = cli("verify", bundle, "--passes", "--stages", "--json", "-")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    names = [step["pass"] for step in document["passes"]]
    assert names == [step.name for step in pipelines.default()]
    assert {step["status"] for step in document["passes"]} == {"verified", "unchanged"}
    assert document["stages"]
    assert all(stage["sqnr_db"] is None or stage["sqnr_db"] > 80 for stage in document["stages"])
    assert document["selection"] == []
    assert document["relative_error"] < 1e-5


def test_a_file_with_one_flipped_bit(cli: Any, copy: Path) -> None:
    data = bytearray((copy / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.onnx").write_bytes(data)
    assert cli("verify", copy).code == 2
    code, found = bisect(cli, copy)
    assert (code, found["stage"]) == (1, "files")
    assert "model.onnx" in found["said"]


def test_a_weight_with_one_flipped_bit_under_a_new_seal(cli: Any, copy: Path) -> None:
    name = flip(copy)
    reseal(copy)
    assert cli("verify", copy).code == 1
    code, found = bisect(cli, copy)
    assert (code, found["stage"], found["name"]) == (1, "weights", name)
    assert found["place"]["module"]
    assert found["place"]["error"] > 1e-5


class Mutated:
    """A pass, and a fault that it leaves in the graph."""

    reason = "for the drill"

    def __init__(self, step: Any, fault: Callable[[ir.Model], None]) -> None:
        self.name, self.step, self.fault = step.name, step, fault

    def run(self, model: ir.Model) -> PassResult:
        result: PassResult = self.step.run(model)
        if result.matches:
            self.fault(model)
        return result


def drop_attribute(model: ir.Model) -> None:
    """Clamping to zero and above is what is left of a ReLU."""
    node = next(node for node in model.graph if "min" in node.attributes)
    node.attributes["min"] = ir.AttrFloat32("min", -3.0e38)


def swap_inputs(model: ir.Model) -> None:
    """Two weights of one shape change places."""
    convolutions = [node for node in model.graph if "Conv" in node.op_type]
    held = convolutions[0].inputs[1]
    assert held is not None
    assert held.const_value is not None
    turned = held.const_value.numpy()[::-1].copy()
    held.const_value = ir.tensor(turned, name=held.name)


@pytest.mark.parametrize(
    ("name", "fault"), [("fuse_conv", drop_attribute), ("fuse_conv", swap_inputs)]
)
def test_a_mutated_pass(
    name: str,
    fault: Callable[[ir.Model], None],
    cli: Any,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = [Mutated(s, fault) if s.name == name else s for s in pipelines.default()]
    monkeypatch.setattr(pipelines, "default", lambda: steps)
    folder = tmp_path / "repro"
    code, found = bisect(cli, bundle, "--repro", folder)
    assert (code, found["stage"], found["name"]) == (1, "passes", name)
    assert "Conv" in found["place"]["operator"]
    assert found["place"]["module"]
    assert found["repro"] == str(folder)
    assert {path.name for path in folder.iterdir()} >= {"before.onnx", "after.onnx", "repro.py"}
    done = cli("verify", bundle, "--passes", "--json", "-")
    assert done.code == 1
    last = json.loads(done.out)["passes"][-1]
    assert (last["pass"], last["status"]) == (name, "failed")


def test_a_repro_folder_needs_passes_and_a_free_name(cli: Any, bundle: Path) -> None:
    done = cli("verify", bundle, "--repro", "x")
    assert done.code == 2
    assert "--passes" in done.err


def test_a_source_that_is_gone(cli: Any, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiny_net", None)
    done = cli("bisect", copy)
    assert done.code == 2
    assert "tiny_net" in done.err
