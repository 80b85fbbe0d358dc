"""Recognises adaptive average pooling, however an exporter spells it, by computing it.

x -> GatherND -> Transpose -> Where -> .. -> Div      =>      Transpose -> GridPool -> Reshape ..
x -> MatMul(columns) -> MatMul(rows)                  =>      the same
What lies between is linear, so that one random map tells whether it is this pooling.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.grid_pool import reference
from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.token_maps import TO_FIRST, TO_LAST
from attnc.passes.clean.fold import evaluate
from attnc.passes.graph import (
    Array,
    Refuse,
    const,
    constant,
    is_op,
    new_node,
    opset,
    replace,
    require_private,
    shape,
    sole_user,
)
from attnc.passes.movement import MOVES

#: Operators that, with constants for all other operands, are linear in one map.
LINEAR = (*MOVES, "GatherND", "Where", "Add", "Mul", "Div", "MatMul", "ReduceSum", "ReduceMean")
#: The last of them in the spellings that are known.
ENDS = frozenset({"MatMul", "Div", "Mul", "ReduceMean", "AveragePool"})
#: Nodes that a pooling may consist of, and maps that are tried as what is pooled.
MOST_NODES, MOST_MAPS = 500, 4
TOLERANCE = 1e-5
CHANNELS = 2  # of the map that is computed, where the spelling does not fix them


class FuseGridPool(AnchorPass):
    """Average pooling to a grid of cells with even or uneven windows."""

    name = "fuse_grid_pool"
    reason = "a small constant map, spelt out in gathers and masks over the whole feature map"
    anchors = ENDS

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the last node of the pooling."""
        out = node.outputs[0]
        sizes = shape(out)
        if sizes is None or len(sizes) != 4 or None in sizes[1:] or _goes_on(node):
            return False
        if is_op(node, "AveragePool") and not _becomes_tokens(node):
            return False
        found = None
        for source in _maps_before(node):  # the last one that fits: an axis at a time fits as well
            nodes = _between(source, node)
            if nodes is not None and _is_pooling(node, source, nodes, opset(graph)):
                found = source, nodes
        if found is None:
            return False
        source, nodes = found
        require_private(nodes, node.outputs)
        replace(graph, node, nodes[:-1], _pooled(source, out, graph))
        return True


def _goes_on(node: ir.Node) -> bool:
    """Whether the pooling may not be finished here."""
    user = sole_user(node.outputs[0])
    if user is None or not is_op(user, "MatMul", "Div", "Mul"):
        return False
    return any(const(value) is not None for value in user.inputs)


def _becomes_tokens(node: ir.Node) -> bool:
    """Whether the cells are laid out as tokens next: else pooling channels first is as good."""
    user = sole_user(node.outputs[0])
    return user is not None and is_op(user, "Reshape", "Flatten", "Transpose")


def _maps_before(end: ir.Node) -> list[ir.Value]:
    """The nearest maps of other heights or widths that `end` may be linear in."""
    wanted, found = shape(end.outputs[0]) or [], list[ir.Value]()
    seen, queue = {end}, deque([end])
    while queue and len(found) < MOST_MAPS and len(seen) < MOST_NODES:
        for value in queue.popleft().inputs:
            if value is None or const(value) is not None:
                continue
            sizes = shape(value) or []
            fits = len(sizes) == 4 and sizes[1] == wanted[1] and None not in sizes[1:]
            if fits and sizes[2:] != wanted[2:] and value not in found:
                found.append(value)
            maker = value.producer()
            if maker is not None and maker not in seen and is_op(maker, *LINEAR):
                seen.add(maker)
                queue.append(maker)
    return found


def _between(source: ir.Value, end: ir.Node) -> list[ir.Node] | None:
    """The nodes from `source` to `end` in order; None if `end` depends on anything else."""
    order: dict[ir.Node, None] = {}

    def walk(node: ir.Node) -> bool:
        if node in order:
            return True
        for value in node.inputs:
            if value is None or value is source or const(value) is not None:
                continue
            maker = value.producer()
            if maker is None or not is_op(maker, *LINEAR) or len(order) > MOST_NODES:
                return False
            if not walk(maker):
                return False
        order[node] = None
        return True

    if not walk(end) or (len(order) == 1 and not is_op(end, "AveragePool")):
        return None  # a mean or a product alone is no pooling to a grid
    return list(order)


def _is_pooling(end: ir.Node, source: ir.Value, nodes: list[ir.Node], version: int) -> bool:
    batch, channels, height, width = shape(source) or []
    assert height is not None
    assert width is not None
    x = np.random.default_rng(0).standard_normal((batch or CHANNELS, channels or 1, height, width))
    rows, columns = (shape(end.outputs[0]) or [])[2:]
    expected = reference(x.transpose(0, 2, 3, 1), grid=[rows or 1, columns or 1])
    try:
        found = _compute(end, source, nodes, x.astype(np.float32), version)
    except Refuse:
        return False
    tokens = found.reshape(*found.shape[:2], -1).transpose(0, 2, 1)
    return tokens.shape == expected.shape and np.allclose(tokens, expected, atol=TOLERANCE)


def _compute(end: ir.Node, source: ir.Value, nodes: list[ir.Node], x: Array, version: int) -> Array:
    known: dict[ir.Value, Array] = {source: x}
    for node in nodes:
        arrays = [
            None if value is None else known[value] if value in known else const(value)
            for value in node.inputs
        ]
        known.update(zip(node.outputs, evaluate(node, arrays, version), strict=True))
    return known[end.outputs[0]]


def _pooled(source: ir.Value, out: ir.Value, graph: ir.Graph) -> list[ir.Node]:
    assert source.shape is not None
    assert out.shape is not None
    batch, channels, height, width = source.shape
    rows, columns = list(out.shape)[2:]
    assert isinstance(rows, int)
    assert isinstance(columns, int)
    last = new_node(
        "Transpose", [source], {"perm": TO_LAST}, like=out, sizes=[batch, height, width, channels]
    )
    pool = new_node(
        "GridPool",
        last.outputs,
        {"grid": [rows, columns]},
        domain="attnc",
        like=out,
        sizes=[batch, rows * columns, channels],
    )
    target = constant(graph, np.array([0, rows, columns, channels], np.int64), "cells")
    cells = new_node(
        "Reshape", [pool.outputs[0], target], like=out, sizes=[batch, rows, columns, channels]
    )
    return [last, pool, cells, new_node("Transpose", cells.outputs, {"perm": TO_FIRST})]
