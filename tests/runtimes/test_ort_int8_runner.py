"""ONNX Runtime's own dynamic quantisation as a competitor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from attnc.compiler.errors import UnsupportedError
from attnc.runtimes.ort_int8_runner import OrtInt8Runner
from attnc.runtimes.ort_runner import OrtRunner


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A product and a bias."""
    rng = np.random.default_rng()
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w", (48, 32)), ("b", (32,)))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], "product"),
        helper.make_node("Add", ["p", "b"], ["y"], "bias"),
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 5, width])
        for name, width in (("x", 48), ("y", 32))
    )
    graph = helper.make_graph(nodes, "plain", [x], [y], weights)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "plain.onnx")
    return tmp_path / "plain.onnx"


def test_it_computes_the_model_in_bytes(plain: Path, tmp_path: Path) -> None:
    feed = {"x": np.random.default_rng().standard_normal((2, 5, 48), np.float32)}
    with OrtRunner(plain, 1) as exact, OrtInt8Runner(plain, tmp_path, 1) as rounded:
        want, got = exact.infer(feed)["y"], rounded.infer(feed)["y"]
    assert 1e-5 < np.abs(got - want).max() / np.abs(want).max() < 0.05
    kinds = {node.op_type for node in onnx.load(tmp_path / "plain.ort-int8.onnx").graph.node}
    assert "MatMulInteger" in kinds


def test_it_quantises_once(plain: Path, tmp_path: Path) -> None:
    with OrtInt8Runner(plain, tmp_path, 1):
        pass
    plain.unlink()
    with OrtInt8Runner(plain, tmp_path, 1) as again:
        assert again.infer({"x": np.zeros((2, 5, 48), np.float32)})["y"].shape == (2, 5, 32)


def test_what_it_cannot_read_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "plain.onnx").write_bytes(b"not a model")
    with pytest.raises(UnsupportedError, match="cannot quantise the plain export"):
        OrtInt8Runner(tmp_path / "plain.onnx", tmp_path, 1).activate()
    assert [path.name for path in tmp_path.iterdir()] == ["plain.onnx"]
