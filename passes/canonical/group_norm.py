"""One form of GroupNorm with one group: the one that the exporters for opset 17 to 20 write.

GroupNormalization(x, g, b)                    Reshape([0,1,-1]) -> InstanceNormalization
LayerNormalization over (C,H,W)         =>       -> Reshape -> Mul(g) -> Add(b)
(x - mean) / sqrt(mean((x - mean)^2) + e)
"""

from __future__ import annotations

from dataclasses import dataclass

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
    is_op,
    new_node,
    opset,
    replace,
    shape,
)
from attnc.passes.views import trace


@dataclass(frozen=True)
class Affine:
    """value = data * gamma + beta per channel (axis 1 of four); `nodes` compute it."""

    data: ir.Value
    gamma: Array
    beta: Array
    nodes: tuple[ir.Node, ...]


def strip_affine(value: ir.Value, channels: int) -> Affine:
    """Peel a per-channel Add and Mul off `value` (either may be missing)."""
    gamma, beta = np.ones(channels), np.zeros(channels)
    nodes: list[ir.Node] = []
    for op_type in ("Add", "Mul"):
        node = value.producer()
        found = _channel_operand(node, channels) if is_op(node, op_type) else None
        if node is None or found is None:
            continue
        value, array = found
        beta, gamma = (array, gamma) if op_type == "Add" else (beta, array)
        nodes.append(node)
    return Affine(value, gamma, beta, tuple(nodes))


def per_channel(array: Array | None, channels: int) -> Array | None:
    """A constant that broadcasts along axis 1 of four, as [channels] in float64."""
    if array is None or array.size not in (1, channels) or array.ndim > 4:
        return None
    if array.size == channels and channels > 1:
        sizes = (1,) * (4 - array.ndim) + array.shape
        if sizes != (1, channels, 1, 1):
            return None
    return np.broadcast_to(array.reshape(-1).astype(np.float64), (channels,)).copy()


def _channel_operand(node: ir.Node | None, channels: int) -> tuple[ir.Value, Array] | None:
    assert node is not None
    for data, other in (node.inputs, reversed(node.inputs)):
        array = per_channel(const(other), channels)
        if data is not None and array is not None and const(data) is None:
            return data, array
    return None


class CanonicalGroupNorm(AnchorPass):
    """GroupNorm with one group over a four-dimensional tensor, however it is written."""

    name = "canonical_group_norm"
    reason = "GroupNorm has as many spellings as there are opsets and authors"
    anchors = frozenset({"GroupNormalization", "LayerNormalization", "Div", "Mul"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the node by the canonical chain."""
        sizes = shape(node.inputs[0])
        if is_op(node, "GroupNormalization"):
            return self._group(node, sizes, graph)
        if is_op(node, "LayerNormalization"):
            return self._layer(node, sizes, graph)
        return self._decomposed(node, graph)

    def _group(self, node: ir.Node, sizes: list[int | None] | None, graph: ir.Graph) -> bool:
        groups = attribute(node, "num_groups")
        if sizes is None or len(sizes) != 4 or None in sizes[1:]:
            raise Refuse("its input is not [B,C,H,W] of known sizes")
        if groups != 1:
            raise Refuse(f"it has {groups} groups, not one")
        gamma, beta = const(node.inputs[1]), const(node.inputs[2])
        if gamma is None or beta is None:
            raise Refuse("its scale and shift are not constants")
        if opset(graph) < 21 and gamma.size != 1:
            raise Refuse("scale and shift are not per group, as this opset wants them")
        _build(node, node.inputs[0], gamma, beta, attribute(node, "epsilon", 1e-5), graph)
        return True

    def _layer(self, node: ir.Node, sizes: list[int | None] | None, graph: ir.Graph) -> bool:
        axis = attribute(node, "axis", -1)
        if sizes is None or len(sizes) != 4 or axis % 4 != 1 or len(node.outputs) > 1:
            return False
        if None in sizes[1:]:
            raise Refuse("its input has symbolic sizes")
        tensors = [const(v) for v in node.inputs[1:]]
        gamma = tensors[0]
        beta = tensors[1] if len(tensors) > 1 else None
        if gamma is None or (len(tensors) > 1 and beta is None):
            raise Refuse("its scale and shift are not constants")
        beta = np.zeros_like(gamma) if beta is None else beta
        columns = [a.reshape(sizes[1] or 1, -1) for a in (gamma, beta)]
        if any((column != column[:, :1]).any() for column in columns):
            raise Refuse("its scale or shift differs between positions")
        epsilon = attribute(node, "epsilon", 1e-5)
        _build(node, node.inputs[0], columns[0][:, 0], columns[1][:, 0], epsilon, graph)
        return True

    def _decomposed(self, node: ir.Node, graph: ir.Graph) -> bool:
        found = standardised_at(node)
        if found is None or found.axes != (1, 2, 3) or len(shape(found.x) or []) != 4:
            return False
        if None in (shape(found.x) or [])[1:]:
            raise Refuse("its input has symbolic sizes")
        _build(node, found.x, np.ones(1), np.zeros(1), found.epsilon, graph)
        return True


def _build(
    node: ir.Node, x: ir.Value | None, gamma: Array, beta: Array, epsilon: float, graph: ir.Graph
) -> None:
    sizes = shape(x)
    assert x is not None
    assert sizes is not None
    dtype = x.dtype.numpy() if x.dtype is not None else np.dtype(np.float32)
    channels = sizes[1] or 1
    batch = x.shape[0] if x.shape is not None else None
    count = int(np.prod(np.array(sizes[1:], dtype=np.int64)))
    flat = constant(graph, np.array([0, 1, -1]), "one_group")
    back = constant(graph, np.array([0, *sizes[1:]]), "map")
    units = [constant(graph, np.full(1, v, dtype), n) for v, n in ((1, "one"), (0, "zero"))]
    rows = new_node("Reshape", [x, flat], like=x, sizes=[batch, 1, count])
    normal = new_node(
        "InstanceNormalization",
        [rows.outputs[0], *units],
        {"epsilon": float(epsilon)},
        like=rows.outputs[0],
    )
    nodes = [rows, normal, new_node("Reshape", [normal.outputs[0], back], like=x)]
    for op_type, array, neutral, name in (("Mul", gamma, 1, "gamma"), ("Add", beta, 0, "beta")):
        if (array != neutral).any():
            column = np.broadcast_to(array.reshape(-1, 1, 1), (channels, 1, 1)).astype(dtype)
            inputs = [nodes[-1].outputs[0], constant(graph, column, name)]
            nodes.append(new_node(op_type, inputs, like=x))
    replace(graph, node, [], nodes)


@dataclass(frozen=True)
class GroupNorm:
    """n = GroupNorm of one group over the first channels of a source, affine per channel."""

    gamma: Array
    beta: Array
    epsilon: float
    channels: int
    nodes: tuple[ir.Node, ...]


def group_norm_of(value: ir.Value, x: ir.Value) -> GroupNorm | None:
    """The canonical GroupNorm that makes `value` out of the first channels of `x`.

    None if there is no normalisation; refuses where it is another one than this.
    """
    sizes = shape(value)
    if sizes is None or len(sizes) != 4 or sizes[1] is None:
        return None
    affine = strip_affine(value, sizes[1])
    after = trace(affine.data)
    norm = after.sources[0].producer()
    if norm is None or not is_op(norm, "InstanceNormalization"):
        return None
    rows = norm.inputs[0]
    row_sizes = shape(rows)
    assert rows is not None
    if row_sizes is None or len(row_sizes) != 3 or row_sizes[1] != 1:
        raise Refuse("the normalisation is not over one group", norm)
    before = trace(rows, stops={x})
    if before.sources != (x,):
        raise Refuse("the normalised channels do not come from the block's input", norm)
    for batch in before.batches():
        into = before.indices(batch)
        whole = into.reshape(-1)[after.indices(batch)]
        full = np.arange(np.prod([batch, *_rest(x)])).reshape(batch, *_rest(x))
        if not np.array_equal(whole, full[:, : sizes[1]]) or into.shape[0] != batch:
            raise Refuse("the normalised channels are not the first ones of the block", norm)
    scale, shift = const(norm.inputs[1]), const(norm.inputs[2])
    if scale is None or shift is None:
        raise Refuse("the scale of the normalisation is not a constant", norm)
    return GroupNorm(
        gamma=affine.gamma * float(scale.reshape(())),
        beta=affine.gamma * float(shift.reshape(())) + affine.beta,
        epsilon=float(attribute(norm, "epsilon", 1e-5)),
        channels=sizes[1],
        nodes=(*affine.nodes, *after.nodes, norm, *before.nodes),
    )


def _rest(value: ir.Value) -> list[int]:
    sizes = shape(value) or []
    if any(size is None for size in sizes[1:]):
        raise Refuse("the block's input has symbolic sizes", value.producer())
    return [size for size in sizes[1:] if size is not None]
