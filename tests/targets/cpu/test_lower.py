"""Lowering keeps what the graph computes, and the layout changes only where it must."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from attnc.compiler.ops.base import DOMAIN, NO_MAX, NO_MIN
from attnc.compiler.ops.registry import attach_functions, make_node
from attnc.targets.cpu.lower import lower

CLAMP = {"min": 0.0, "max": NO_MAX}
WINDOW = {"kernel_shape": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
POINT = {"kernel_shape": (1, 1), "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}


class Builder:
    """A graph of semantic operators with random weights, built one node at a time."""

    def __init__(self, shape: tuple[int | str, ...] = ("batch", 3, 12, 10)) -> None:
        self.rng = np.random.default_rng()
        self.x = ir.Value(name="x", shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
        self.graph = ir.Graph([self.x], [], nodes=[], opset_imports={"": 20, DOMAIN: 1})

    def constant(self, *shape: int) -> ir.Value:
        name = f"w{len(self.graph.initializers)}"
        scale = max(1, int(np.prod(shape[1:]))) ** -0.5
        tensor = ir.tensor((scale * self.rng.standard_normal(shape)).astype(np.float32), name=name)
        value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(tensor.dtype))
        value.const_value = tensor
        self.graph.register_initializer(value)
        return value

    def node(self, op: str, inputs: list[Any], rank: int = 4, **attributes: Any) -> ir.Value:
        fused = op[0] == "@"
        node = make_node(op[1:], inputs, attributes) if fused else ir.node(op, inputs, attributes)
        node.name = f"n{len(self.graph)}"
        node.outputs[0].name = f"v{len(self.graph)}"
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        if rank == 2:
            node.outputs[0].shape = ir.Shape(["batch", None])
        self.graph.append(node)
        return node.outputs[0]

    def conv(self, x: ir.Value, cin: int, cout: int, group: int = 1, **options: Any) -> ir.Value:
        attributes = {**WINDOW, **CLAMP, **options, "group": group}
        weight = self.constant(cout, cin // group, *attributes["kernel_shape"])
        return self.node("@FusedConv", [x, weight, self.constant(cout)], **attributes)

    def feed_forward(self, x: ir.Value, channels: int) -> ir.Value:
        w1, b1 = self.constant(2 * channels, channels, 1, 1), self.constant(2 * channels)
        w2, b2 = self.constant(channels, 2 * channels, 1, 1), self.constant(channels)
        return self.node("@FeedForward", [x, w1, b1, w2, b2], **CLAMP)

    def head(self, x: ir.Value, channels: int) -> ir.Value:
        inputs = [x, self.constant(7, channels), self.constant(7)]
        return self.node("@PoolLinear", inputs, rank=2)

    def model(self, *outputs: ir.Value) -> ir.Model:
        self.graph.outputs.extend(outputs)
        return ir.Model(self.graph, ir_version=9)


def run(model: ir.Model, x: np.ndarray) -> list[np.ndarray]:
    copy = model.clone()
    attach_functions(copy)
    data = ir.serde.serialize_model(copy).SerializeToString()
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


def check(model: ir.Model) -> Counter[str]:
    """Lower, compare before with after at two batch sizes, count what is left."""
    inputs = [np.random.default_rng().standard_normal((b, 3, 12, 10), np.float32) for b in (1, 3)]
    before = [run(model, x) for x in inputs]
    lower(model)
    for x, want in zip(inputs, before, strict=True):
        for got, expected in zip(run(model, x), want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    return Counter(node.op_type for node in model.graph)


def test_network_from_stem_to_head_needs_no_transpose() -> None:
    b = Builder()
    y = b.conv(b.x, 3, 12, strides=(2, 2))
    y = b.conv(y, 12, 12, group=12)
    y = b.feed_forward(y, 12)
    counts = check(b.model(b.head(y, 12)))
    assert counts == {
        "StemConvNhwc": 1,
        "DepthwiseNhwc": 1,
        "FeedForwardNhwc": 1,
        "PoolLinearNhwc": 1,
    }


def test_wide_input_is_converted_once() -> None:
    b = Builder(("batch", 3, 12, 10))
    wide = b.node("Concat", [b.x, b.x], axis=1)
    counts = check(b.model(b.conv(wide, 6, 8), b.conv(wide, 6, 5)))
    assert counts["Transpose"] == 3  # one in, one out per output
    assert counts["ConvNhwc"] == 2


def test_reader_outside_the_region_gets_its_map_back_once() -> None:
    b = Builder()
    y = b.conv(b.x, 3, 8)
    outside = [b.node("Softmax", [y], axis=1), b.node("Softmax", [y], axis=3)]
    counts = check(b.model(*outside, b.feed_forward(y, 8)))
    assert counts["Transpose"] == 2


def test_elementwise_operators_stay_inside() -> None:
    b = Builder()
    y = b.conv(b.x, 3, 8, min=NO_MIN)
    y.shape = ir.Shape(["batch", 8, 12, 10])
    z = b.node("Sigmoid", [y])
    z.shape = y.shape
    y = b.node("Mul", [y, z])
    counts = check(b.model(b.head(b.feed_forward(y, 8), 8)))
    assert "Transpose" not in counts


def test_residual_convolution_and_its_reader() -> None:
    b = Builder()
    y = b.conv(b.x, 3, 8)
    inputs = [y, b.constant(8, 8, 1, 1), b.constant(8), y]
    z = b.node("@FusedConvAdd", inputs, **POINT, **CLAMP, group=1)
    counts = check(b.model(z))
    assert counts == {"StemConvNhwc": 1, "ConvAddNhwc": 1, "Transpose": 1}


def test_grouped_convolution_stays_and_says_why() -> None:
    b = Builder()
    y = b.conv(b.conv(b.x, 3, 8), 8, 8, group=2)
    model = b.model(y)
    assert check(model) == {"StemConvNhwc": 1, "FusedConv": 1, "Transpose": 1}
    (refusal,) = lower(model)
    assert "groups" in refusal.reason


def test_weight_that_is_computed_stays_and_says_why() -> None:
    b = Builder()
    weight = b.node("Identity", [b.constant(8, 3, 3, 3)])
    y = b.node("@FusedConv", [b.x, weight, b.constant(8)], **WINDOW, **CLAMP, group=1)
    (refusal,) = lower(b.model(y))
    assert refusal.reason == "a weight is not a constant"


@pytest.mark.parametrize("output", ["first", "last", "both"])
def test_graph_outputs_keep_their_names(output: str) -> None:
    b = Builder()
    first = b.conv(b.x, 3, 8)
    last = b.feed_forward(first, 8)
    first.name, last.name = "first", "last"
    model = b.model(*{"first": [first], "last": [last], "both": [first, last]}[output])
    names = [value.name for value in model.graph.outputs]
    check(model)
    assert [value.name for value in model.graph.outputs] == names
