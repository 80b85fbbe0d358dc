"""One form of LayerNorm over the last axis: the operator, with scale and shift inside.

(x - mean) / sqrt(mean((x - mean)^2) + e) -> Mul(g) -> Add(b)   =>   LayerNormalization(x, g, b)
LayerNormalization(x, 1) -> Mul(g) -> Add(b)                    =>   the same
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.standardised import standardised_at
from attnc.passes.graph import (
    Array,
    Refuse,
    attribute,
    const,
    constant,
    input_at,
    is_op,
    new_node,
    opset,
    replace,
    shape,
    sole_user,
)

FIRST_OPSET = 17  # of the operator


class CanonicalLayerNorm(AnchorPass):
    """The written-out LayerNorm, and scales and shifts that stand behind the operator."""

    name = "canonical_layer_norm"
    reason = "exporters for opset 16 and older write LayerNorm out in nine nodes"
    anchors = frozenset({"Div", "Mul", "LayerNormalization"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the end of the chain, or takes one more node into the operator."""
        if is_op(node, "LayerNormalization"):
            return _absorb(node, graph)
        found = standardised_at(node)
        sizes = shape(found.x) if found is not None else None
        if found is None or sizes is None or found.axes != (len(sizes) - 1,):
            return False
        if sizes[-1] is None:
            raise Refuse("the size of the normalised axis is symbolic")
        if opset(graph) < FIRST_OPSET:
            raise Refuse(f"opset {opset(graph)} has no LayerNormalization")
        dtype = found.x.dtype.numpy() if found.x.dtype is not None else np.dtype(np.float32)
        scale = constant(graph, np.ones(sizes[-1], dtype), "scale")
        attributes = {"axis": -1, "epsilon": found.epsilon}
        new = new_node("LayerNormalization", [found.x, scale], attributes, like=node.outputs[0])
        replace(graph, node, [], [new])
        return True


def last_axis_norm(node: ir.Node | None) -> tuple[Array, Array] | None:
    """Scale and shift [C] of a LayerNormalization over the last axis; None for anything else."""
    if node is None or not is_op(node, "LayerNormalization"):
        return None
    sizes, scale = shape(node.inputs[0]), const(node.inputs[1])
    shift = const(input_at(node, 2))
    if sizes is None or attribute(node, "axis", -1) % len(sizes) != len(sizes) - 1:
        return None
    if scale is None or (input_at(node, 2) is not None and shift is None):
        return None
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return None
    own = _per_channel(scale, sizes[-1])
    added = np.zeros_like(own) if shift is None else _per_channel(shift, sizes[-1])
    return None if own is None or added is None else (own, added)


def _per_channel(array: Array, channels: int | None) -> Array | None:
    """[channels] of what is broadcast over all other axes; None for what varies over them."""
    if channels is None or array.shape[-1:] not in ((), (1,), (channels,)):
        return None
    if array.size not in (1, channels) or array.size != prod(array.shape[-1:]):
        return None
    return np.broadcast_to(array.reshape(-1), (channels,)).copy()


def _absorb(node: ir.Node, graph: ir.Graph) -> bool:
    """Take a Mul or an Add of one number per channel behind the operator into it."""
    user, own = sole_user(node.outputs[0]), last_axis_norm(node)
    if own is None or user is None or not is_op(user, "Mul", "Add"):
        return False
    other = user.inputs[1] if user.inputs[0] is node.outputs[0] else user.inputs[0]
    row = _row(const(other), own[0].size)
    if row is None:
        return False
    scale, shift = own
    scale, shift = (scale * row, shift * row) if is_op(user, "Mul") else (scale, shift + row)
    inputs = [node.inputs[0], constant(graph, scale, "scale"), constant(graph, shift, "shift")]
    attributes = {"axis": -1, "epsilon": attribute(node, "epsilon", 1e-5)}
    new = new_node("LayerNormalization", inputs, attributes, like=user.outputs[0])
    replace(graph, user, [node], [new])
    return True


def _row(array: Array | None, channels: int) -> Array | None:
    """A constant with one number per channel of the last axis, as [channels]."""
    if array is None or array.size != channels or array.shape[-1:] != (channels,):
        return None
    return array.reshape(-1)
