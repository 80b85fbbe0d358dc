"""The class token's row of an attention whose weights are read outside, as for token pruning.

The fused operator gives no weights. One row is cheap: it is computed again beside it,
softmax(q[0] k^T * scale), with logits of zero for inactive keys, whose k is zero.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import (
    attribute,
    const,
    constant,
    input_at,
    ints,
    is_op,
    new_node,
    shape,
)
from attnc.passes.sparse.heads import Heads
from attnc.passes.sparse.masked_softmax import Rows

#: Reductions over other axes leave the rows where they are.
_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax")


@dataclass(frozen=True)
class Reader:
    """A node outside that reads the first row of weights, at that input."""

    node: ir.Node
    place: int


def readers_of(first: Rows, inside: Collection[ir.Node], last: ir.Node) -> list[Reader]:
    """Who reads the class token's row of the weights, and nothing else of them, but `last`."""
    found: list[Reader] = []
    stack, seen = [first.softmax.outputs[0]], set[ir.Value]()
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        for use in value.uses():
            user = use.node
            if user is last:
                continue
            if user in inside:
                stack += list(user.outputs) if is_op(user, "Where", "Concat", "Cast") else []
            elif _takes_first_row(user, use.idx, value):
                found.append(Reader(user, use.idx))
    return found


def _takes_first_row(node: ir.Node, place: int, value: ir.Value, axis: int | None = None) -> bool:
    sizes = shape(value)
    if sizes is None:
        return False
    axis = len(sizes) - 2 if axis is None else axis
    if sizes[axis] == 1 or place != 0:
        return sizes[axis] == 1
    if is_op(node, "Gather"):
        index = const(input_at(node, 1))
        at = attribute(node, "axis", 0) % len(sizes)
        return at == axis and index is not None and not index.any() and index.size == 1
    if is_op(node, "Slice"):
        starts, ends, axes, steps = (ints(input_at(node, n)) for n in range(1, 5))
        axes = [at % len(sizes) for at in axes] if axes is not None else []
        if starts is None or ends is None or axis not in axes:
            return False
        at = axes.index(axis)
        return (starts[at], ends[at], (steps or [1] * len(axes))[at]) == (0, 1, 1)
    return is_op(node, *_REDUCTIONS) and _reduces_others(node, len(sizes), axis)


def _reduces_others(node: ir.Node, rank: int, axis: int) -> bool:
    axes = [at % rank for at in ints(input_at(node, 1)) or attribute(node, "axes") or []]
    out = node.outputs[0]
    if not axes or axis in axes or out.is_graph_output():
        return False
    keeps = bool(attribute(node, "keepdims", 1))
    behind = axis if keeps else axis - sum(at < axis for at in axes)
    return all(_takes_first_row(use.node, use.idx, out, behind) for use in out.uses())


def class_row(
    q: Heads, scale: float, active: ir.Value | None, graph: ir.Graph, like: ir.Value
) -> list[ir.Node]:
    """Nodes whose last gives softmax(q[0] k^T * scale) [B, heads, 1, N]; q, k, v are packed."""
    batch, tokens, _ = list(q.source.shape or [])
    width = q.heads * q.dim
    nodes: list[ir.Node] = []

    def add(
        op: str, inputs: list[ir.Value], sizes: Sequence[object], **attributes: object
    ) -> ir.Value:
        nodes.append(new_node(op, inputs, attributes, like=q.source, sizes=sizes))
        return nodes[-1].outputs[0]

    def number(*values: int) -> ir.Value:
        return constant(graph, np.array(values, np.int64), f"{like.name}_class_row")

    def heads(
        count: object, rows: int, at: int, order: list[int], what: Sequence[object]
    ) -> ir.Value:
        starts, ends = number(0, at), number(rows, at + width)
        part = add("Slice", [q.source, starts, ends, number(1, 2)], [batch, count, width])
        split = number(0, 0, q.heads, q.dim)
        part = add("Reshape", [part, split], [batch, count, q.heads, q.dim])
        return add("Transpose", [part], what, perm=order)

    query = heads(1, 1, 0, [0, 2, 1, 3], [batch, q.heads, 1, q.dim])
    keys = heads(tokens, 2**31 - 1, width, [0, 2, 3, 1], [batch, q.heads, q.dim, tokens])
    sizes = [batch, q.heads, 1, tokens]
    logits = add("MatMul", [query, keys], sizes)
    factor = constant(graph, np.array(scale, np.float32), f"{like.name}_class_row")
    logits = add("Mul", [logits, factor], sizes)
    if active is not None:
        mask = add("Unsqueeze", [active, number(1, 2)], [batch, 1, 1, tokens])
        logits = add("Mul", [logits, mask], sizes)
    add("Softmax", [logits], sizes, axis=-1)
    return nodes


def attach(readers: list[Reader], row: ir.Value) -> None:
    """Lets them read the row alone; reductions on the way then have one row."""
    for reader in readers:
        reader.node.replace_input_with(reader.place, row)
        _settle_shape(reader.node)


def _settle_shape(node: ir.Node) -> None:
    if not is_op(node, *_REDUCTIONS):
        return
    data, out = node.inputs[0], node.outputs[0]
    if data is None or data.shape is None:
        return
    axes = [at % len(data.shape) for at in ints(input_at(node, 1)) or attribute(node, "axes")]
    keeps = bool(attribute(node, "keepdims", 1))
    sizes = list(data.shape)
    out.shape = ir.Shape(
        [1 if at in axes else size for at, size in enumerate(sizes) if keeps or at not in axes]
    )
    for use in out.uses():
        _settle_shape(use.node)
