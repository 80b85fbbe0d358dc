"""The arithmetic of graphs: products count twice their multiply-adds."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.compiler.ops.flops import graph_flops
from attnc.compiler.ops.registry import make_node


def value(name: str, *shape: int | str) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))


def flops(node: ir.Node, *shape: int | str) -> int:
    output = node.outputs[0]
    output.shape = ir.Shape(shape) if shape else None
    inputs = [given for given in node.inputs if given is not None]
    graph = ir.Graph(inputs, [output], nodes=[node], opset_imports={"": 20})
    return graph_flops(ir.Model(graph, ir_version=9))


def test_products_of_standard_operators() -> None:
    product = ir.node("MatMul", [value("a", 2, 3, 5), value("b", 5, 7)])
    assert flops(product, 2, 3, 7) == 2 * 2 * 3 * 5 * 7
    flipped = ir.node("Gemm", [value("a", 5, 3), value("b", 5, 7)], {"transA": 1})
    assert flops(flipped, 3, 7) == 2 * 3 * 5 * 7
    grouped = ir.node("Conv", [value("x", 1, 8, 6, 6), value("w", 16, 4, 3, 3)], {"group": 2})
    assert flops(grouped, 1, 16, 4, 4) == 2 * 16 * 16 * 36
    assert flops(ir.node("Softmax", [value("x", 4, 4)]), 4, 4) == 0


def test_fused_operators_say_their_cost_and_shape() -> None:
    shapes = {"x": (1, 8, 4, 4), "w1": (16, 8, 1, 1), "b1": (16,), "w2": (8, 16, 1, 1), "b2": (8,)}
    inputs = [value(name, *shape) for name, shape in shapes.items()]
    node = make_node("FeedForward", inputs, {"min": NO_MIN, "max": NO_MAX})
    assert flops(node) == 4 * 16 * 8 * 16


def test_an_unknown_shape_is_named() -> None:
    node = ir.node("MatMul", [value("a", "batch", 5), value("b", 5, 7)])
    with pytest.raises(UnsupportedError, match=r"arithmetic of MatMul.*no fixed shape"):
        flops(node, "batch", 7)
