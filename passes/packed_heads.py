"""Gives q, k and v as runs of channels of one value [B, N, C], heads one after another.

Where they lie otherwise, the linear layer that makes them gets its columns in another order, or
several layers on one input become one; only what no linear layer makes is copied into place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from attnc.passes.canonical.linear import linear_of
from attnc.passes.graph import Array, Refuse, const, constant, is_op, new_node
from attnc.passes.heads import Part


@dataclass
class Packed:
    """A value [B, N, C], where each part begins in it, and the new nodes that make it."""

    value: ir.Value
    starts: list[int]
    nodes: list[ir.Node] = field(default_factory=list)


@dataclass(frozen=True)
class Layer:
    """value = x weight + bias with weight [K, C]; `flat`: a Gemm on rows [B * N, K]."""

    x: ir.Value
    weight: Array
    bias: Array
    flat: bool


def pack(parts: Sequence[Part], graph: ir.Graph) -> Packed:
    """All parts in one value; they must agree in their tokens."""
    first = parts[0]
    count = first.tokens
    if any(part.tokens != count for part in parts):
        raise Refuse("q, k and v have different numbers of tokens")
    if all(p.source is first.source and p.batch_first == first.batch_first for p in parts):
        starts = [_run(part) for part in parts]
        if None not in starts:
            found = Packed(first.source, [start for start in starts if start is not None])
            return _batch_first(found, first.batch_first, count, graph)
    layers = [layer_of(part.source) for part in parts]
    lead = layers[0]
    same = all(
        layer is not None and lead is not None and layer.x is lead.x and layer.flat == lead.flat
        for layer in layers
    )
    if lead is not None and same and all(p.batch_first == first.batch_first for p in parts):
        found = _merged([layer for layer in layers if layer is not None], parts, graph)
        return _batch_first(found, first.batch_first, count, graph)
    return _copied(parts, count, graph)


def share(one: Part, other: Part) -> bool:
    """Whether both can lie in one value without a copy."""
    if one.source is other.source:
        return one.batch_first == other.batch_first
    layers = layer_of(one.source), layer_of(other.source)
    return all(layers) and layers[0].x is layers[1].x  # type: ignore[union-attr]


def layer_of(value: ir.Value) -> Layer | None:
    """The linear layer with constant weights that makes a value of tokens."""
    node = value.producer()
    gemm = linear_of(node)
    if gemm is not None:
        return Layer(gemm.x, gemm.weight().T, gemm.bias(), True)
    bias: Array | None = None
    if node is not None and is_op(node, "Add"):
        for data, other in (node.inputs, reversed(node.inputs)):
            array = const(other)
            if data is not None and array is not None and array.size == array.shape[-1:][0]:
                bias, node = array.reshape(-1), data.producer()
                break
        else:
            return None
    if node is None or not is_op(node, "MatMul"):
        return None
    weight, x = const(node.inputs[1]), node.inputs[0]
    if weight is None or weight.ndim != 2 or x is None:
        return None
    zeros = np.zeros(weight.shape[1], weight.dtype)
    return Layer(x, weight, zeros if bias is None else np.broadcast_to(bias, zeros.shape), False)


def _run(part: Part) -> int | None:
    """The first channel where all follow one another."""
    start = int(part.channels[0, 0])
    whole = start + np.arange(part.channels.size).reshape(part.channels.shape)
    return start if np.array_equal(part.channels, whole) else None


def _starts(parts: Sequence[Part]) -> list[int]:
    ends = np.cumsum([part.channels.size for part in parts])
    return [0, *(int(end) for end in ends[:-1])]


def _merged(layers: Sequence[Layer], parts: Sequence[Part], graph: ir.Graph) -> Packed:
    columns = [part.channels.reshape(-1) for part in parts]
    weight = np.concatenate([la.weight[:, c] for la, c in zip(layers, columns, strict=True)], 1)
    bias = np.concatenate([la.bias[c] for la, c in zip(layers, columns, strict=True)])
    x, source = layers[0].x, parts[0].source
    assert source.shape is not None
    sizes = [*list(source.shape)[:-1], weight.shape[1]]
    shift = constant(graph, bias, "heads_bias")
    if layers[0].flat:
        rows = constant(graph, weight.T, "heads_weight")
        gemm = new_node("Gemm", [x, rows, shift], {"transB": 1}, like=source, sizes=sizes)
        return Packed(gemm.outputs[0], _starts(parts), [gemm])
    rows = constant(graph, weight, "heads_weight")
    product = new_node("MatMul", [x, rows], like=source, sizes=sizes)
    add = new_node("Add", [product.outputs[0], shift], like=source, sizes=sizes)
    return Packed(add.outputs[0], _starts(parts), [product, add])


def _copied(parts: Sequence[Part], tokens: int, graph: ir.Graph) -> Packed:
    nodes, values = [], []
    for part in parts:
        placed = _batch_first(Packed(part.source, [0]), part.batch_first, tokens, graph)
        order = constant(graph, part.channels.reshape(-1), "heads_order")
        assert placed.value.shape is not None
        sizes = [*list(placed.value.shape)[:-1], part.channels.size]
        inputs = [placed.value, order]
        taken = new_node("Gather", inputs, {"axis": len(sizes) - 1}, like=part.source, sizes=sizes)
        nodes += [*placed.nodes, taken]
        values.append(taken.outputs[0])
    if len(values) == 1:
        return Packed(values[0], [0], nodes)
    assert values[0].shape is not None
    sizes = [*list(values[0].shape)[:-1], sum(part.channels.size for part in parts)]
    joined = new_node("Concat", values, {"axis": -1}, like=values[0], sizes=sizes)
    return Packed(joined.outputs[0], _starts(parts), [*nodes, joined])


def _batch_first(found: Packed, batch_first: bool, tokens: int, graph: ir.Graph) -> Packed:
    """The value as [B, N, C]; from rows [B * N, C] or from [N, B, C]."""
    value = found.value
    assert value.shape is not None
    graph_nodes = list(found.nodes)
    if len(value.shape) == 2:
        width, rows = value.shape[1], value.shape[0]
        batch = rows // tokens if isinstance(rows, int) else None
        sizes = [batch, tokens, width] if batch_first else [tokens, batch, width]
        wanted = np.array([-1 if size is None else size for size in sizes], np.int64)
        target = constant(graph, wanted, "heads_rows")
        reshape = new_node("Reshape", [value, target], like=value, sizes=sizes)
        graph_nodes.append(reshape)
        value = reshape.outputs[0]
    if not batch_first:
        first, second, width = list(value.shape or [])
        order = {"perm": [1, 0, 2]}
        turned = new_node("Transpose", [value], order, like=value, sizes=[second, first, width])
        graph_nodes.append(turned)
        value = turned.outputs[0]
    return Packed(value, found.starts, graph_nodes)
