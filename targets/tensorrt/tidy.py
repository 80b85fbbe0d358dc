"""What is left to say plainer once the bodies stand in the graph.

x -> Clip(-inf, inf)   =>   x          x -> Clip(0, inf)   =>   x -> Relu
x -> Gelu              =>   x -> Div -> Erf -> Add -> Mul -> Mul    (below opset 20; by tanh too)
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.passes.graph import attribute, constant, is_op, new_node, replace, scalar

GELU_OPSET = 20


def plain_clips(graph: ir.Graph) -> None:
    """Bounds that bound nothing go: float16 could not hold them."""
    for node in list(graph):
        if not is_op(node, "Clip") or len(node.inputs) < 3:
            continue
        x = node.inputs[0]
        low, high = scalar(node.inputs[1]), scalar(node.inputs[2])
        unbounded = high is not None and high >= NO_MAX
        if low is not None and low <= NO_MIN and unbounded:
            replace(graph, node, [node], [new_node("Identity", [x], like=node.outputs[0])])
        elif low == 0 and unbounded:
            relu = new_node("Relu", [x], like=node.outputs[0])
            replace(graph, node, [node], [relu])
        elif unbounded:
            node.replace_input_with(2, None)
        elif low is not None and low <= NO_MIN:
            node.replace_input_with(1, None)


def spell_gelu(graph: ir.Graph) -> None:
    """GELU by its definition, for parsers that do not know the operator."""
    for node in list(graph):
        if is_op(node, "Gelu"):
            by_tanh = attribute(node, "approximate", "none") == "tanh"
            replace(graph, node, [node], (_gelu_of_tanh if by_tanh else _gelu)(node, graph))


def _gelu(node: ir.Node, graph: ir.Graph) -> list[ir.Node]:
    """x * (1 + erf(x / sqrt(2))) * 0.5"""
    ratio = _step("Div", node, node.inputs[0], _number(graph, math.sqrt(2)))
    error = _step("Erf", node, ratio.outputs[0])
    return [ratio, error, *_gated(node, graph, error)]


def _gelu_of_tanh(node: ir.Node, graph: ir.Graph) -> list[ir.Node]:
    """x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) * 0.5"""
    x = node.inputs[0]
    square = _step("Mul", node, x, x)
    part = _step("Mul", node, square.outputs[0], _number(graph, 0.044715))
    factor = _step("Add", node, part.outputs[0], _number(graph, 1.0))
    bent = _step("Mul", node, x, factor.outputs[0])
    scaled = _step("Mul", node, bent.outputs[0], _number(graph, math.sqrt(2 / math.pi)))
    tanh = _step("Tanh", node, scaled.outputs[0])
    return [square, part, factor, bent, scaled, tanh, *_gated(node, graph, tanh)]


def _gated(node: ir.Node, graph: ir.Graph, gate: ir.Node) -> list[ir.Node]:
    more = _step("Add", node, gate.outputs[0], _number(graph, 1.0))
    product = _step("Mul", node, node.inputs[0], more.outputs[0])
    return [more, product, _step("Mul", node, product.outputs[0], _number(graph, 0.5))]


def _step(op_type: str, node: ir.Node, *inputs: ir.Value | None) -> ir.Node:
    return new_node(op_type, inputs, like=node.outputs[0])


def _number(graph: ir.Graph, value: float) -> ir.Value:
    return constant(graph, np.array(value, np.float32), "gelu")
