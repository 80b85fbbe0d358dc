"""The arithmetic of a graph: two operations for each multiply-add of its products.

Fused operators say their own cost; of the standard ones, products count and the rest is nothing.
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops.base import DOMAIN, Shape, size
from attnc.compiler.ops.registry import get
from attnc.compiler.provenance import describe

_PRODUCTS = ("MatMul", "Gemm", "Conv")


def graph_flops(model: ir.Model) -> int:
    """Operations of one run. Raises UnsupportedError naming a product whose shapes are unknown."""
    made: dict[ir.Value, Shape] = {}
    return sum(_node_flops(node, made) for node in model.graph)


def _node_flops(node: ir.Node, made: dict[ir.Value, Shape]) -> int:
    if node.domain == DOMAIN:
        operator = get(node.op_type)
        shapes = [_shape(value, node, made) for value in node.inputs]
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        found = operator.output_shapes(shapes, attributes)
        made.update(zip(node.outputs, found, strict=False))
        return operator.cost(shapes, attributes).flops
    if node.domain or node.op_type not in _PRODUCTS:
        return 0
    return 2 * size(_shape(node.outputs[0], node, made)) * _depth(node, made)


def _depth(node: ir.Node, made: dict[ir.Value, Shape]) -> int:
    """Multiply-adds for each number of the output."""
    if node.op_type == "Conv":
        return size(_shape(node.inputs[1], node, made)[1:])
    shape = _shape(node.inputs[0], node, made)
    transposed = node.op_type == "Gemm" and "transA" in node.attributes
    return shape[0] if transposed and node.attributes["transA"].value else shape[-1]


def _shape(value: ir.Value | None, node: ir.Node, made: dict[ir.Value, Shape]) -> Shape:
    if value is None:
        return (0,)
    if value in made:
        return made[value]
    sides = [side for side in value.shape or () if isinstance(side, int)]
    if value.shape is None or len(sides) != len(value.shape):
        raise UnsupportedError(
            f"the arithmetic of {node.op_type} is unknown: {value.name} has no fixed shape",
            where=describe(node),
            remedy="export with a fixed batch",
        )
    return tuple(sides)
