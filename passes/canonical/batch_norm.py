"""Folds BatchNormalization into the linear operator before or after it.

Conv(w, b) -> BN(s, t)         =>   Conv(s*w, s*b + t)
BN(s, t) -> Conv(w, b)         =>   Conv(w*s, b + w.t)      only where nothing is padded
BN(s, t) <-> Gemm(w, b)        =>   likewise
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.conv import Conv, conv_of
from attnc.passes.canonical.linear import Linear, linear_of
from attnc.passes.graph import (
    Array,
    Refuse,
    attribute,
    const,
    constant,
    is_op,
    new_node,
    replace,
    sole_user,
)


class FoldBatchNorm(AnchorPass):
    """BatchNormalization in inference form, with constant statistics."""

    name = "fold_batch_norm"
    reason = "a normalisation with fixed statistics is a scale and a shift of a neighbour"
    anchors = frozenset({"BatchNormalization"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Into the operator before; if there is none, into the one after."""
        scale, shift = scale_and_shift(node)
        data = node.inputs[0]
        assert data is not None
        before = data.producer()
        conv, linear = conv_of(before), linear_of(before)
        if (conv or linear) and sole_user(data) is node:
            assert before is not None
            new = (
                _conv_then(conv, scale, shift, graph)
                if conv
                else _linear_then(linear, scale, shift, graph)
            )
            replace(graph, node, [before], [new])
            return True
        after = sole_user(node.outputs[0])
        if after is not None and is_op(after, "Conv", "Gemm"):
            return _into_next(node, after, data, (scale, shift), graph)
        if conv or linear:
            raise Refuse("the value before it has a second consumer")
        raise Refuse("neither a Conv nor a Gemm with constant weights stands before or after it")


def scale_and_shift(node: ir.Node) -> tuple[Array, Array]:
    """BN as y = scale * x + shift per channel, in float64."""
    if attribute(node, "training_mode", 0) or len(node.outputs) > 1:
        raise Refuse("it computes statistics (training mode)")
    arrays = [const(value) for value in node.inputs[1:5]]
    gamma, beta, mean, var = (a.astype(np.float64) if a is not None else None for a in arrays)
    if gamma is None or beta is None or mean is None or var is None:
        raise Refuse("its statistics are not constants")
    scale = gamma / np.sqrt(var + attribute(node, "epsilon", 1e-5))
    return scale, beta - mean * scale


def _conv_then(conv: Conv | None, scale: Array, shift: Array, graph: ir.Graph) -> ir.Node:
    assert conv is not None
    w = conv.weight() * scale[:, None, None, None]
    return new_conv(conv, conv.x, w, conv.bias() * scale + shift, graph)


def _linear_then(linear: Linear | None, scale: Array, shift: Array, graph: ir.Graph) -> ir.Node:
    assert linear is not None
    w, b = linear.weight() * scale[:, None], linear.bias() * scale + shift
    return new_linear(linear, linear.x, w, b, graph)


def _into_next(
    node: ir.Node, after: ir.Node, data: ir.Value, affine: tuple[Array, Array], graph: ir.Graph
) -> bool:
    scale, shift = affine
    conv, linear = conv_of(after), linear_of(after)
    if conv is not None and conv.x is node.outputs[0]:
        if any(attribute(after, "pads")):
            raise Refuse("the Conv after it pads with zeros, which the shift would move")
        w = conv.weight().astype(np.float64)
        group = attribute(after, "group")
        per_input = scale.reshape(group, 1, -1, 1, 1)
        grouped = w.reshape(group, -1, *w.shape[1:])
        moved = (grouped * shift.reshape(group, 1, -1, 1, 1)).sum(axis=(2, 3, 4)).reshape(-1)
        scaled = (grouped * per_input).reshape(w.shape)
        new = new_conv(conv, data, scaled, conv.bias() + moved, graph)
    elif linear is not None and linear.x is node.outputs[0]:
        w = linear.weight().astype(np.float64)
        new = new_linear(linear, data, w * scale[None, :], linear.bias() + w @ shift, graph)
    else:
        raise Refuse("the weights of what follows are not constants")
    replace(graph, after, [node], [new])
    return True


def new_conv(conv: Conv, x: ir.Value, w: Array, b: Array, graph: ir.Graph) -> ir.Node:
    """A Conv in canonical form with other weights."""
    dtype = conv.weight().dtype
    inputs = [
        x,
        constant(graph, w.astype(dtype), f"{conv.w.name}_folded"),
        constant(graph, b.astype(dtype), f"{conv.b.name}_folded"),
    ]
    return new_node("Conv", inputs, conv.geometry(), like=conv.out)


def new_linear(linear: Linear, x: ir.Value, w: Array, b: Array, graph: ir.Graph) -> ir.Node:
    """A Gemm in canonical form with other weights."""
    dtype = linear.weight().dtype
    inputs = [
        x,
        constant(graph, w.astype(dtype), f"{linear.w.name}_folded"),
        constant(graph, b.astype(dtype), f"{linear.b.name}_folded"),
    ]
    return new_node("Gemm", inputs, {"transB": 1}, like=linear.node.outputs[0])
