"""Graphs of fused and standard operators, lowered for Core ML and run by the evaluator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from programs import evaluate
from rewriting import MODULE, SOURCE, Builder, compute, random_feeds

from attnc.compiler.ops.base import DOMAIN, NO_MAX, NO_MIN
from attnc.compiler.ops.registry import get, make_node
from attnc.compiler.provenance import MODULE_KEY, SOURCE_KEY
from attnc.targets.coreml.lower import Lowered, Options, lower, prepare

Array = NDArray[Any]
FREE = {"min": NO_MIN, "max": NO_MAX}
BATCH, HEIGHT, WIDTH, WIDE = 2, 3, 4, 6
COUNT = HEIGHT * WIDTH
WINDOW = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1]}
POINT = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1]}


class Graph(Builder):
    """As `Builder`, with fused nodes: `g.fused("SlotCluster", x, slots, scale=2.0)`."""

    def fused(self, op_type: str, *inputs: Any, **attributes: Any) -> Any:
        """One value, or a list where the operator has several outputs; arrays are constants."""
        values = [v if isinstance(v, ir.Value) else self.const(v) for v in inputs]
        node = make_node(op_type, values, attributes, name=f"block/{len(self.graph)}")
        node.metadata_props.update({MODULE_KEY: MODULE, SOURCE_KEY: SOURCE})
        self.graph.append(node)
        self.graph.opset_imports[DOMAIN] = 1
        shapes = get(op_type).output_shapes([tuple(v.shape) for v in values], attributes)
        for name, value, sizes in zip(get(op_type).outputs, node.outputs, shapes, strict=True):
            value.name = f"v{len(self.graph)}_{name}"
            kind = ir.DataType.INT64 if name == "index" else ir.DataType.FLOAT
            value.type, value.shape = ir.TensorType(kind), ir.Shape(sizes)
        return node.outputs[0] if len(node.outputs) == 1 else list(node.outputs)

    def shaped(self, op_type: str, sizes: Sequence[int], *inputs: Any, **attributes: Any) -> Any:
        """A standard node whose result has these sizes, for what fused nodes read."""
        value = self.op(op_type, *inputs, **attributes)
        value.shape, value.type = ir.Shape(sizes), ir.TensorType(ir.DataType.FLOAT)
        return value

    def linear(self, x: ir.Value, wide: int, **options: Any) -> Any:
        """A layer to `wide` channels with random weights."""
        weight = self.random(wide, int(x.shape[-1])) / int(x.shape[-1]) ** 0.5
        return self.fused("Linear", x, weight, self.random(wide), **{**FREE, **options})

    def fused_conv(self, x: ir.Value, wide: int, **options: Any) -> Any:
        """A convolution to `wide` channels with random weights, of one place unless told."""
        how = {**POINT, **FREE, "group": 1, **options}
        narrow = int(x.shape[1]) // how["group"]
        weight = self.random(wide, narrow, *how["kernel_shape"]) / narrow**0.5
        return self.fused("FusedConv", x, weight, self.random(wide), **how)

    def tokens(self, x: ir.Value) -> Any:
        """Tokens [B,N,C] of a map, through pixels."""
        batch, channels, height, width = map(int, x.shape)
        pixels = self.shaped("Transpose", [batch, height, width, channels], x, perm=[0, 2, 3, 1])
        rows = [batch, height * width, channels]
        return self.shaped("Reshape", rows, pixels, np.array(rows))

    def map_of(self, x: ir.Value, height: int, width: int) -> Any:
        """The map [B,C,H,W] of tokens, through pixels."""
        batch, _, channels = map(int, x.shape)
        pixels = [batch, height, width, channels]
        whole = self.shaped("Reshape", pixels, x, np.array(pixels))
        return self.shaped("Transpose", [batch, channels, height, width], whole, perm=[0, 3, 1, 2])


def held_map(graph: Graph, batch: int = BATCH) -> ir.Value:
    """A map that a convolution makes."""
    return graph.fused_conv(graph.input(batch, 5, HEIGHT, WIDTH), WIDE)


def held_tokens(graph: Graph, batch: int = BATCH) -> ir.Value:
    """Tokens held channels first."""
    return graph.tokens(held_map(graph, batch))


def held_pixels(graph: Graph) -> ir.Value:
    """Pixels held channels first."""
    sizes = [BATCH, HEIGHT, WIDTH, WIDE]
    return graph.shaped("Transpose", sizes, held_map(graph), perm=[0, 2, 3, 1])


def copy_of(model: ir.Model) -> ir.Model:
    return ir.from_proto(ir.to_proto(model))


def lowered(model: ir.Model, ios: int = 17, half: bool = False, **options: Any) -> Lowered:
    """The program of a copy of the model."""
    twin = copy_of(model)
    prepare(twin, ios)
    return lower(twin, Options(ios, half, **options))


def answers(
    model: ir.Model, feeds: Mapping[str, Array], ios: int = 17, half: bool = False
) -> list[Array]:
    """What the program of the model gives."""
    return evaluate(lowered(model, ios, half), ios, feeds)


def operations(made: Lowered) -> Counter[str]:
    """The program's operations by kind."""
    return Counter(o.op_type for o in made.program["main"].operations if o.op_type != "const")


def check(model: ir.Model, ios: int = 17, limit: float = 1e-5) -> Counter[str]:
    """Compares the program with ONNX Runtime on the operators' bodies; its operations."""
    feeds = random_feeds(model)
    made = lowered(model, ios)
    for got, want in zip(evaluate(made, ios, feeds), compute(model, feeds), strict=True):
        close(got, want, limit)
    return operations(made)


def close(got: Array, want: Array, limit: float = 1e-5) -> None:
    """Asserts the same shape, and that no element is further off than the largest times `limit`."""
    assert got.shape == want.shape
    scale = float(np.abs(want).max(initial=0.0)) or 1.0
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=0, atol=limit * scale)


def cosine(got: Array, want: Array) -> float:
    """Of two arrays, as float64 vectors; one where both are zeros."""
    a, b = (np.asarray(x, np.float64).ravel() for x in (got, want))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else float(np.array_equal(a, b))
