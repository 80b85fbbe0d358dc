"""One form of the change between a map and its tokens: channels last first, then the flattening.

[B,C,H,W] -> Reshape [B,C,N] -> Transpose [B,N,C]   =>   Transpose [B,H,W,C] -> Reshape [B,N,C]
[B,N,C] -> Transpose [B,C,N] -> Reshape [B,C,H,W]   =>   Reshape [B,H,W,C] -> Transpose [B,C,H,W]
[B,N,C] -> Reshape [B,H,W,C] -> Reshape [B,N,C]     =>   nothing
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import attribute, constant, is_op, new_node, replace, shape

SWAP = [0, 2, 1]
TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


class CanonicalTokenMaps(AnchorPass):
    """Two-step changes between [B,C,H,W] and [B,H*W,C]."""

    name = "canonical_token_maps"
    reason = (
        "a Transpose of a whole map can move past pixel-wise layers, a Reshape in between hides"
    )
    anchors = frozenset({"Transpose", "Reshape"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the second of the two nodes."""
        data = node.inputs[0]
        before = data.producer() if data is not None else None
        if before is None:
            return False
        if is_op(node, "Transpose") and is_op(before, "Reshape", "Flatten"):
            return _to_tokens(node, before, graph)
        if is_op(node, "Reshape") and is_op(before, "Transpose"):
            return _to_map(node, before, graph)
        if is_op(node, "Reshape") and is_op(before, "Reshape"):
            return _and_back(node, before, graph)
        return False


def _and_back(node: ir.Node, before: ir.Node, graph: ir.Graph) -> bool:
    x, out = before.inputs[0], node.outputs[0]
    if x is None or x.shape is None or x.shape != out.shape or out.is_graph_output():
        return False
    ir.convenience.replace_all_uses_with(out, x)
    graph.remove(node, safe=True)
    return True


def _flattened(map_sizes: list[int | None] | None, rows: list[int | None] | None) -> bool:
    """Whether [B,C,H,W] and [B,C,H*W] are these shapes."""
    if map_sizes is None or rows is None or len(map_sizes) != 4 or len(rows) != 3:
        return False
    _, channels, height, width = map_sizes
    if None in (channels, height, width):
        return False
    return rows[1] == channels and rows[2] == (height or 0) * (width or 0)


def _to_tokens(node: ir.Node, before: ir.Node, graph: ir.Graph) -> bool:
    x, out = before.inputs[0], node.outputs[0]
    sizes = shape(x)
    if attribute(node, "perm") != SWAP or not _flattened(sizes, shape(before.outputs[0])):
        return False
    assert x is not None
    assert x.shape is not None
    batch, channels, height, width = x.shape
    last = new_node(
        "Transpose", [x], {"perm": TO_LAST}, like=x, sizes=[batch, height, width, channels]
    )
    target = constant(graph, np.array([0, -1, channels], np.int64), "tokens")
    tokens = new_node("Reshape", [last.outputs[0], target], like=out)
    replace(graph, node, [before], [last, tokens])
    return True


def _to_map(node: ir.Node, before: ir.Node, graph: ir.Graph) -> bool:
    x, out = before.inputs[0], node.outputs[0]
    if attribute(before, "perm") != SWAP or not _flattened(shape(out), shape(before.outputs[0])):
        return False
    assert x is not None
    assert out.shape is not None
    batch, channels, height, width = out.shape
    target = constant(graph, np.array([0, height, width, channels], np.int64), "map")
    last = new_node("Reshape", [x, target], like=x, sizes=[batch, height, width, channels])
    replace(graph, node, [before], [last, new_node("Transpose", last.outputs, {"perm": TO_FIRST})])
    return True
