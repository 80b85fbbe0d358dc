"""The float64 evaluation against ONNX's own reference, and that it forgets what nobody reads."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator
from rewriting import Builder

from attnc.runtimes.proof.float64 import compute64, run_node


def check(node: ir.Node, *arrays: np.ndarray | None) -> None:
    """Our result of a node and ONNX's."""
    proto = ir.serde.serialize_node(node)
    for index, name in enumerate(proto.input):
        proto.input[index] = f"i{index}" if name else ""
    feed = {f"i{k}": array for k, array in enumerate(arrays) if array is not None}
    expected = ReferenceEvaluator(proto, opsets={"": 20}).run(None, feed)[0]
    found = run_node(node, arrays, {"": 20})[0]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "how",
    [
        {"pads": [1, 0, 2, 1], "strides": [2, 1]},
        {"dilations": [2, 3], "pads": [2, 3, 2, 3]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [3, 2]},
        {"group": 2},
    ],
)
def test_convolutions(how: dict) -> None:
    b, rng = Builder(), np.random.default_rng()
    x = b.input(2, 4, 9, 8)
    channels = 4 // how.get("group", 1)
    w = rng.standard_normal((6, channels, 3, 3))
    b.op("Conv", x, w.astype(np.float32), np.zeros(6, np.float32), kernel_shape=[3, 3], **how)
    check(next(iter(b.graph)), rng.standard_normal((2, 4, 9, 8)), w, rng.standard_normal(6))


def test_gather_elements_of_many_rows_and_from_the_end() -> None:
    data, rng = np.random.default_rng().standard_normal((3, 100, 5)), np.random.default_rng()
    index = rng.integers(-100, 100, (3, 7, 4))
    node = ir.node("GatherElements", [ir.Value(name="x"), ir.Value(name="i")], {"axis": 1})
    found = run_node(node, [data, index], {"": 20})[0]
    for a, b, c in np.ndindex(index.shape):
        assert found[a, b, c] == data[a, index[a, b, c], c]


def test_float32_is_widened_everywhere_and_values_are_dropped() -> None:
    b = Builder()
    x = b.input(1, 4)
    y = b.op("Cast", b.op("Add", b.op("Mul", x, np.full(4, 0.1)), x), to=1)
    model = b.model(b.op("Sub", y, x))
    given = np.full((1, 4), 0.3, np.float32)
    seen: list[str] = []
    (found,) = compute64(model, {"x": given}, lambda node, *_: seen.append(node.op_type))
    wide = given.astype(np.float64)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, wide * np.float64(np.float32(0.1)) + wide - wide)
    assert seen == ["Mul", "Add", "Cast", "Sub"]
