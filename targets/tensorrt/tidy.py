"""What is left to say plainer once the bodies stand in the graph.

x -> Clip(-inf, inf)   =>   x          x -> Clip(0, inf)   =>   x -> Relu
x -> Gelu              =>   x -> Div -> Erf -> Add -> Mul -> Mul    (below opset 20)
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.passes.graph import constant, is_op, new_node, replace, scalar

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
        if not is_op(node, "Gelu"):
            continue
        x, out = node.inputs[0], node.outputs[0]

        def number(value: float) -> ir.Value:
            return constant(graph, np.array(value, np.float32), "gelu")

        ratio = new_node("Div", [x, number(math.sqrt(2))], like=out)
        error = new_node("Erf", [ratio.outputs[0]], like=out)
        more = new_node("Add", [error.outputs[0], number(1.0)], like=out)
        product = new_node("Mul", [x, more.outputs[0]], like=out)
        half = new_node("Mul", [product.outputs[0], number(0.5)], like=out)
        replace(graph, node, [node], [ratio, error, more, product, half])
