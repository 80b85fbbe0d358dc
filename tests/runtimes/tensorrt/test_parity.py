"""The outputs of a bundle's model file against its source: limits of half precision, bfloat16."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.seeded_input import seeded_input
from attnc.runtimes.checks import Report
from attnc.runtimes.limits import table_limits
from attnc.runtimes.tensorrt import parity
from attnc.runtimes.tensorrt.parity import TIMES, as_float32, check_parity, runner

SHAPE = (2, 3, 4, 4)
TYPES = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def floor(precision: str) -> float:
    return table_limits("tensorrt", precision).relative


def write(path: Path, precision: str = "fp16", error: float = 0.0) -> Path:
    """y = (1 + error) * x, by way of the precision."""
    low = TYPES[precision]
    weight = helper.make_tensor("w", low, [1], [1.0 + error])
    nodes = [
        helper.make_node("Cast", ["x"], ["low"], to=low),
        helper.make_node("Mul", ["low", "w"], ["product"]),
        helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, SHAPE) for n in "xy"]
    inner = [helper.make_tensor_value_info(n, low, SHAPE) for n in ("low", "product")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [weight], value_info=inner)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def bundle_of(folder: Path, precision: str, error: float) -> Any:
    """As much of a bundle as parity reads; the source is y = x."""
    (folder / "reference").mkdir()
    np.save(folder / "reference" / "seed0.npy", seeded_input(SHAPE, 0))
    case = SimpleNamespace(seed=0, input_shape=SHAPE, path="reference/seed0.npy")
    spec = SimpleNamespace(name="x", shape=SHAPE)
    manifest = SimpleNamespace(
        model="y",
        target="tensorrt",
        precision=precision,
        batch=SHAPE[0],
        reference=(case,),
        inputs=(spec,),
        outputs=(SimpleNamespace(name="y", shape=SHAPE),),
        preprocessing=None,
        discontinuous=False,
        operators={},
        verdicts=(),
    )
    path = write(folder / "model.onnx", precision, error)
    return SimpleNamespace(path=folder, model_path=path, manifest=manifest)


def report_of(bundle: Any, plain: Path | None = None) -> dict[str, Any]:
    report = Report()
    check_parity(bundle, lambda: lambda x: x, plain, None, report)
    return {check.name: check for check in report.checks}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize(("times", "status"), [(0.5, "verified"), (2.0, "failed")])
def test_the_floor_without_a_plain_export(
    tmp_path: Path, precision: str, times: float, status: str
) -> None:
    checks = report_of(bundle_of(tmp_path, precision, times * floor(precision)))
    for name in ("parity/recorded-seed0", "parity/source-seed11-batch2"):
        assert checks[name].status == status
        assert checks[name].limit == floor(precision)
        assert "the plain export is not there" in checks[name].reason
    assert checks["photographs"].status == "not-verified"


@pytest.mark.parametrize(("times", "status"), [(0.9, "verified"), (1.2, "failed")])
def test_the_plain_export_is_the_yardstick(tmp_path: Path, times: float, status: str) -> None:
    own = 0.04
    bundle = bundle_of(tmp_path, "fp16", times * TIMES * own)
    check = report_of(bundle, write(tmp_path / "plain.onnx", "fp16", own))["parity/recorded-seed0"]
    assert check.status == status
    assert check.limit == pytest.approx(TIMES * own, rel=0.02)
    assert "plain export in fp16 is off by 4.0e-02" in check.reason


def test_a_plain_export_that_is_close_does_not_tighten_the_limit(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, "fp16", 0.5 * floor("fp16"))
    checks = report_of(bundle, write(tmp_path / "plain.onnx", "fp16"))
    assert checks["parity/recorded-seed0"].status == "verified"
    assert checks["parity/recorded-seed0"].limit == floor("fp16")


@pytest.mark.parametrize(("error", "status"), [(0.0, "verified"), (1e-3, "failed")])
def test_float32_has_no_such_room(tmp_path: Path, error: float, status: str) -> None:
    bundle = bundle_of(tmp_path, "fp32", error)
    plain = write(tmp_path / "plain.onnx", "fp32", 0.5)
    assert report_of(bundle, plain)["parity/recorded-seed0"].status == status


def test_infinite_outputs_fail(tmp_path: Path) -> None:
    checks = report_of(bundle_of(tmp_path, "fp16", float("inf")))
    assert checks["parity/recorded-seed0"].status == "failed"
    assert "NaN or infinite" in checks["parity/recorded-seed0"].reason


def test_without_the_source_what_was_recorded_counts(tmp_path: Path) -> None:
    def gone() -> Any:
        raise UnsupportedError("handed over as a module")

    report = Report()
    check_parity(bundle_of(tmp_path, "fp16", 0.0), gone, None, None, report)
    checks = {check.name: check for check in report.checks}
    assert checks["source"].status == "not-verified"
    assert "handed over as a module" in checks["source"].reason
    assert checks["parity/recorded-seed0"].status == "verified"
    assert report.ok


def test_photographs_are_compared_by_their_first_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = np.zeros(SHAPE, np.float32)
    logits[..., 1], logits[..., 2] = 1.0, 1.0 - 4e-3  # closer than the limit
    swapped = logits.copy()
    swapped[..., [1, 2]] = swapped[..., [2, 1]]
    case = parity.Case("photo-cat", swapped, logits, photo=True)
    monkeypatch.setattr(parity, "live_cases", lambda *_: [case])
    checks = report_of(bundle_of(tmp_path, "fp16", 0.0))
    assert checks["parity/photo-cat"].status == "verified"
    assert checks["top1/photo-cat"].status == "not-verified"  # a near-tie


# --- bfloat16 ------------------------------------------------------------------------------------


def test_bfloat16_runs_in_float32_with_rounded_weights(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", "bf16", 0.01)
    x = seeded_input(SHAPE, 3)
    rounded = float(np.float32(1.0078125))  # 1.01 in bfloat16
    np.testing.assert_allclose(runner(path, "bf16")(x), x * rounded, rtol=1e-6)


def test_as_float32_leaves_no_bfloat16(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", "bf16")
    before = path.read_bytes()
    model = ir.from_proto(onnx.load_from_string(as_float32(path)))
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [value for node in model.graph for value in node.outputs]
    assert ir.DataType.BFLOAT16 not in {value.dtype for value in values}
    casts = [node.attributes["to"].value for node in model.graph if node.op_type == "Cast"]
    assert set(casts) == {ir.DataType.FLOAT}
    assert path.read_bytes() == before


def test_inputs_of_bfloat16_are_widened_as_well(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(n, TensorProto.BFLOAT16, [2]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    x = np.array([-1.0, 2.0], np.float32)
    assert runner(tmp_path / "m.onnx", "bf16")(x).tolist() == [0.0, 2.0]
