"""Brings linear layers on [tokens, batch, channels], or on all rows at once, to [batch, tokens, .].

Transpose(1,0,2) -> MatMul -> Add                =>  MatMul -> Add -> Transpose(1,0,2)
Reshape [L*B, C] -> Gemm -> Reshape [L, B, N]    =>  MatMul -> Add
so that the Transposes around MultiheadAttention meet and cancel.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.linear import Linear, linear_of
from attnc.passes.graph import (
    attribute,
    const,
    constant,
    is_op,
    new_node,
    replace,
    shape,
    sole_user,
)

SWAP = [1, 0, 2]


class CanonicalBatchSecond(AnchorPass):
    """Transposes of the first two axes move behind layers, flattened layers lose their Reshapes."""

    name = "canonical_batch_second"
    reason = "MultiheadAttention computes on [tokens, batch, channels] whatever it is given"
    anchors = frozenset({"MatMul", "Add", "Reshape"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Rewrites a layer behind a Transpose, or between two Reshapes."""
        if is_op(node, "Reshape"):
            return _unflatten(node, graph)
        for place, value in enumerate(node.inputs[: 1 if is_op(node, "MatMul") else 2]):
            source = _before_swap(value)
            other = const(node.inputs[1 - place])
            fits = other is not None and (
                other.ndim == 2 if is_op(node, "MatMul") else other.ndim < 2
            )
            if source is not None and fits:
                return _sink(node, place, source, graph)
        return False


def _before_swap(value: ir.Value | None) -> ir.Value | None:
    node = value.producer() if value is not None else None
    if value is None or not is_op(node, "Transpose") or sole_user(value) is None:
        return None
    assert node is not None
    return node.inputs[0] if attribute(node, "perm") == SWAP else None


def _sink(node: ir.Node, place: int, source: ir.Value, graph: ir.Graph) -> bool:
    out = node.outputs[0]
    if out.shape is None or len(out.shape) != 3:
        return False
    first, second, width = list(out.shape)
    inputs = list(node.inputs)
    inputs[place] = source
    moved = new_node(node.op_type, inputs, like=out, sizes=[second, first, width])
    replace(graph, node, [], [moved, _swapped(moved.outputs[0])])
    return True


def _swapped(value: ir.Value) -> ir.Node:
    first, second, width = list(value.shape or [])
    return new_node("Transpose", [value], {"perm": SWAP}, like=value, sizes=[second, first, width])


def _unflatten(node: ir.Node, graph: ir.Graph) -> bool:
    data = node.inputs[0]
    layer = linear_of(data.producer() if data is not None else None)
    if layer is None or sole_user(layer.node.outputs[0]) is not node:
        return False
    before = layer.x.producer()
    if before is None or not is_op(before, "Reshape") or before.inputs[0] is None:
        return False
    rows, wanted = before.inputs[0], node.outputs[0]
    have, want = _lead(rows), _lead(wanted)
    if have is None or want is None or (shape(rows) or [])[-1] != layer.weight().shape[1]:
        return False
    if want not in (have, have[::-1]) or (want != have and 1 not in have):
        return False
    made = _layer(layer, rows, graph)
    if want != have:
        made.append(_swapped(made[-1].outputs[0]))
    replace(graph, node, [before, layer.node], made)
    return True


def _lead(value: ir.Value) -> list[Any] | None:
    """The sizes before the channels, of which one may be symbolic."""
    sizes = shape(value)
    if sizes is None or len(sizes) != 3 or sizes.count(None) > 1:
        return None
    return sizes[:2]


def _layer(layer: Linear, rows: ir.Value, graph: ir.Graph) -> list[ir.Node]:
    weight = constant(graph, layer.weight().T, f"{layer.w.name}_columns")
    sizes = [*list(rows.shape or [])[:2], layer.weight().shape[0]]
    product = new_node("MatMul", [rows, weight], like=rows, sizes=sizes)
    add = new_node("Add", [product.outputs[0], layer.b], like=rows, sizes=sizes)
    return [product, add]
