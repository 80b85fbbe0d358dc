"""The reference workload: a small network that never changes, run in plain ONNX Runtime.

It is written here node by node with seeded weights, so the same bytes come out everywhere; it has
what vision models have, convolutions, matrix products and softmax. `VERSION` goes up if it changes,
and baselines that were made with another one are not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1
SHAPE = (1, 3, 96, 96)
FILE_NAME = "reference.onnx"
_WIDTH, _DEPTH, _TOKENS = 64, 4, 144  # 96 / 8 squared


def reference_model() -> bytes:
    """The ONNX file; about a millisecond or two on one core."""
    import onnx
    from onnx import TensorProto, helper

    rng = np.random.default_rng(VERSION)
    weights: list[Any] = []
    nodes: list[Any] = []

    def weight(name: str, *shape: int) -> str:
        scale = 1 / np.sqrt(np.prod(shape[1:] if len(shape) > 2 else shape[:1]))
        array = (rng.standard_normal(shape) * scale).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(array, name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    x = _stem(node, weight)
    for block in range(_DEPTH):
        x = _block(node, weight, x, f"b{block}")
    x = node("ReduceMean", [x], "pooled", axes=[1], keepdims=0)
    node("MatMul", [x, weight("head", _WIDTH, 10)], "output")
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 10))],
        [*weights, onnx.numpy_helper.from_array(_flat(), "flat")],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def write_reference(folder: Path) -> Path:
    """Write it into a folder."""
    path = folder / FILE_NAME
    path.write_bytes(reference_model())
    return path


def _flat() -> NDArray[np.int64]:
    return np.array([1, _WIDTH, _TOKENS], np.int64)


def _stem(node: Any, weight: Any) -> str:
    """Three convolutions of stride two, then tokens."""
    x, channels = "input", 3
    for step, width in enumerate((24, 48, _WIDTH)):
        kernel = weight(f"conv{step}", width, channels, 3, 3)
        x = node("Conv", [x, kernel], f"c{step}", pads=[1, 1, 1, 1], strides=[2, 2])
        x, channels = node("Relu", [x], f"r{step}"), width
    x = node("Conv", [x, weight("conv3", _WIDTH, _WIDTH, 3, 3)], "c3", pads=[1, 1, 1, 1])
    return str(node("Transpose", [node("Reshape", [x, "flat"], "map")], "tokens", perm=[0, 2, 1]))


def _block(node: Any, weight: Any, x: str, name: str) -> str:
    """Attention of one head and a feed-forward layer, each with a residual."""
    q, k, v = (
        node("MatMul", [x, weight(f"{name}.{part}", _WIDTH, _WIDTH)], f"{name}_{part}")
        for part in "qkv"
    )
    turned = node("Transpose", [k], f"{name}_t", perm=[0, 2, 1])
    scores = node("Softmax", [node("MatMul", [q, turned], f"{name}_s")], f"{name}_p", axis=-1)
    x = node("Add", [x, node("MatMul", [scores, v], f"{name}_o")], f"{name}_a")
    hidden = node("MatMul", [x, weight(f"{name}.up", _WIDTH, 4 * _WIDTH)], f"{name}_h")
    hidden = node("Relu", [hidden], f"{name}_g")
    down = node("MatMul", [hidden, weight(f"{name}.down", 4 * _WIDTH, _WIDTH)], f"{name}_d")
    return str(node("Add", [x, down], f"{name}_y"))
