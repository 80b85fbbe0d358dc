"""Graphs of semantic operators for the tests of lowering, and the comparison before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from attnc.compiler.ops.base import DOMAIN, NO_MAX
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

    def node(
        self,
        op: str,
        inputs: list[Any],
        rank: int = 4,
        shape: Sequence[int] = (),
        **attributes: Any,
    ) -> ir.Value:
        fused = op[0] == "@"
        node = make_node(op[1:], inputs, attributes) if fused else ir.node(op, inputs, attributes)
        node.name = f"n{len(self.graph)}"
        node.outputs[0].name = f"v{len(self.graph)}"
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        if rank == 2:
            node.outputs[0].shape = ir.Shape(["batch", None])
        if shape:
            node.outputs[0].shape = ir.Shape(["batch", *shape])
        self.graph.append(node)
        return node.outputs[0]

    def reshape(self, x: ir.Value, *sizes: int) -> ir.Value:
        target = self.values(0, *sizes)
        return self.node("Reshape", [x, target], shape=sizes)

    def transpose(self, x: ir.Value, *perm: int) -> ir.Value:
        assert x.shape is not None
        shape = [x.shape[axis] for axis in perm[1:]]
        return self.node("Transpose", [x], shape=shape, perm=perm)

    def values(self, *numbers: int) -> ir.Value:
        name = f"i{len(self.graph.initializers)}"
        value = ir.Value(name=name, const_value=ir.tensor(list(numbers), name=name))
        value.shape, value.dtype = ir.Shape([len(numbers)]), ir.DataType.INT64
        self.graph.register_initializer(value)
        return value

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


def run_model(model: ir.Model, x: np.ndarray) -> list[np.ndarray]:
    copy = model.clone()
    attach_functions(copy)
    data = ir.serde.serialize_model(copy).SerializeToString()
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


def check(model: ir.Model) -> Counter[str]:
    """Lower, compare before with after at two batch sizes, count what is left."""
    inputs = [np.random.default_rng().standard_normal((b, 3, 12, 10), np.float32) for b in (1, 3)]
    before = [run_model(model, x) for x in inputs]
    lower(model)
    for x, want in zip(inputs, before, strict=True):
        for got, expected in zip(run_model(model, x), want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    return Counter(node.op_type for node in model.graph)
