"""Fuses SHViT's token mixer, residual included, into one SingleHeadAttention.

x -+-> x1 -> GroupNorm -> Conv(qkv) -> softmax(s q k^T) v -+
   +-> x2 -------------------------------------------------+-> Concat -> ReLU -> Conv -> Add(x)
=>  SingleHeadAttention(x, gamma, beta, wqkv, bqkv, wproj, bproj)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from attnc.passes.activations import NONE, Clamp, clamp_of
from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.attention import Attention, Channels, attention_at
from attnc.passes.canonical.conv import Conv, conv_of
from attnc.passes.canonical.group_norm import GroupNorm, group_norm_of
from attnc.passes.graph import (
    Refuse,
    constant,
    is_op,
    new_node,
    replace,
    require_private,
    shape,
    sole_user,
)
from attnc.passes.movement import MOVES, concrete_shape
from attnc.passes.views import View, trace


@dataclass(frozen=True)
class _Tail:
    """What follows the attention: the joined channels, their clamp, the projection, the add."""

    joined: View
    clamp: Clamp
    projection: Conv
    add: ir.Node
    x: ir.Value


class FuseSingleHeadAttention(AnchorPass):
    """Single-head attention over the first channels, with its norm, projection and residual."""

    name = "fuse_single_head_attention"
    reason = "SHViT's mixer: 20 nodes on small tensors, all of them memory traffic"
    anchors = frozenset({"Softmax"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces everything from the split to the residual add."""
        attention = attention_at(node)
        qkv = conv_of(attention.source.producer())
        if qkv is None or not qkv.pointwise:
            raise Refuse("q, k and v do not come from one 1x1 convolution")
        if not qkv.single:
            raise Refuse(f"it computes in {qkv.w.dtype}, not in float32")
        tail = _tail(attention)
        norm = group_norm_of(qkv.x, tail.x)
        if norm is None:
            raise Refuse("no GroupNorm stands before the convolution of q, k and v")
        _check_joined(tail, attention, norm.channels)
        order = np.concatenate([attention.q, attention.k, attention.v])
        old = [*attention.nodes, qkv.node, *norm.nodes, *tail.joined.nodes]
        old += [tail.projection.node, tail.add]
        require_private(_after(tail.x, old), tail.add.outputs)
        new = _fused(attention, qkv, norm, tail, order, graph)
        replace(graph, tail.add, old, [new])
        return True


def _after(x: ir.Value, nodes: list[ir.Node]) -> list[ir.Node]:
    """Without the nodes that only cut channels out of x: others may use those as well."""
    sources = {x}
    kept = []
    for node in dict.fromkeys(nodes):
        if is_op(node, "Split", "Slice", "Gather") and node.inputs[0] in sources:
            continue
        kept.append(node)
    return kept


def _tail(attention: Attention) -> _Tail:
    value, projection = attention.out, None
    while projection is None:
        user = sole_user(value)
        if user is None:
            raise Refuse(f"the value {value.name!r} after the attention has a second consumer")
        projection = conv_of(user)
        if projection is None:
            if not is_op(user, *MOVES) and clamp_of(user) is None:
                raise Refuse(f"the attention flows into {user.op_type}, not a 1x1 convolution")
            value = user.outputs[0]
    if not projection.pointwise:
        raise Refuse("the projection is not a 1x1 convolution", projection.node)
    add = sole_user(projection.out)
    if add is None or not is_op(add, "Add"):
        raise Refuse("the projection is not followed by a residual add", projection.node)
    x = add.inputs[1] if add.inputs[0] is projection.out else add.inputs[0]
    if x is None or x is projection.out:
        raise Refuse("the residual add has no other operand", add)
    joined = trace(projection.x, stops={x, attention.out}, clamps=True)
    return _Tail(joined, joined.clamp or NONE, projection, add, x)


def _check_joined(tail: _Tail, attention: Attention, dim_v: int) -> None:
    """The projection must see [attention's output, the untouched channels of x], in this order."""
    x, joined = tail.x, tail.joined
    strangers = [s for s in joined.sources if s is not x and s is not attention.out]
    if strangers:
        raise Refuse(f"{strangers[0].name!r} is joined to the attention", tail.projection.node)
    if len(attention.v) != dim_v:
        raise Refuse(f"v has {len(attention.v)} channels, but {dim_v} are normalised")
    if len(attention.q) != len(attention.k):
        raise Refuse("q and k have different widths")
    for batch in joined.batches():
        sizes = concrete_shape(x, batch)
        start, count = 0, int(np.prod(sizes))
        starts = {}
        for source in joined.sources:
            starts[source] = start
            start += int(np.prod(concrete_shape(source, batch)))
        whole = starts.get(x, 0) + np.arange(count).reshape(sizes)
        tokens = int(np.prod(sizes[2:]))
        out = starts[attention.out] + np.arange(batch * tokens * dim_v)
        if attention.transposed:
            out = out.reshape(batch, dim_v, *sizes[2:])
        else:
            out = out.reshape(batch, *sizes[2:], dim_v).transpose(0, 3, 1, 2)
        expected = np.concatenate([out, whole[:, dim_v:]], axis=1)
        if not np.array_equal(joined.indices(batch), expected):
            raise Refuse("the projection does not see the attention, then the other channels of x")


def _fused(
    attention: Attention, qkv: Conv, norm: GroupNorm, tail: _Tail, order: Channels, graph: ir.Graph
) -> ir.Node:
    dtype = qkv.weight().dtype
    same = np.array_equal(order, np.arange(qkv.weight().shape[0]))
    weights = (
        [qkv.w, qkv.b]
        if same
        else [
            constant(graph, qkv.weight()[order], f"{qkv.w.name}_qkv"),
            constant(graph, qkv.bias()[order], f"{qkv.b.name}_qkv"),
        ]
    )
    inputs = [
        tail.x,
        constant(graph, norm.gamma.astype(dtype), f"{qkv.w.name}_gamma"),
        constant(graph, norm.beta.astype(dtype), f"{qkv.w.name}_beta"),
        *weights,
        tail.projection.w,
        tail.projection.b,
    ]
    attributes = {
        "dim_qk": len(attention.q),
        "dim_v": len(attention.v),
        "epsilon": norm.epsilon,
        "scale": float(attention.scale),
        **tail.clamp.attributes(),
    }
    assert shape(tail.x) is not None
    return new_node(
        "SingleHeadAttention", inputs, attributes, domain="attnc", like=tail.add.outputs[0]
    )
