"""SlotDispatch takes up the residual of its block, which a convolution's Add stands before.

SlotDispatch -> Reshape -> Transpose -> Add(convolution) -> Add(x)
=>  SlotDispatchAdd(x) -> Reshape -> Transpose -> Add(convolution)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.sink_transposes import channels_last
from attnc.passes.canonical.token_maps import TO_FIRST
from attnc.passes.graph import (
    Refuse,
    attribute,
    const,
    constant,
    is_op,
    new_node,
    replace,
    sole_user,
)


class FuseSlotDispatchAdd(AnchorPass):
    """x + (dispatched + convolved) = (x + dispatched) + convolved: each product adds one map."""

    name = "fuse_slot_dispatch_add"
    reason = "the second add would be a pass over the whole map of its own"
    anchors = frozenset({"attnc::SlotDispatch"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the dispatching and the outer add."""
        moves = _to_map(node)
        inner = sole_user(moves[-1].outputs[0]) if moves else None
        outer = sole_user(inner.outputs[0]) if inner is not None else None
        if inner is None or outer is None or not is_op(inner, "Add") or not is_op(outer, "Add"):
            return False
        x = outer.inputs[1] if outer.inputs[0] is inner.outputs[0] else outer.inputs[0]
        if x is None or const(x) is not None or x.shape is None:
            return False
        if x.shape != inner.outputs[0].shape:
            raise Refuse(f"the residual add broadcasts {x.name!r}", outer)
        if not _precedes(x, node, graph):
            raise Refuse(f"{x.name!r} is computed after the dispatching", outer)
        last = channels_last(x, inner)
        if last is None:
            raise Refuse(f"{x.name!r} exists channels first only", outer)
        _rewrite(node, last, graph)
        again = new_node("Add", list(inner.inputs), like=outer.outputs[0])
        replace(graph, outer, [inner], [again])
        return True


def _to_map(node: ir.Node) -> list[ir.Node]:
    """The Reshape and the Transpose that make a map [B,C,H,W] of the tokens; [] if others do."""
    reshape = sole_user(node.outputs[0])
    if reshape is None or not is_op(reshape, "Reshape"):
        return []
    transpose = sole_user(reshape.outputs[0])
    if transpose is None or not is_op(transpose, "Transpose"):
        return []
    return [reshape, transpose] if attribute(transpose, "perm") == TO_FIRST else []


def _precedes(value: ir.Value, node: ir.Node, graph: ir.Graph) -> bool:
    maker = value.producer()
    if maker is None:
        return True
    for current in graph:
        if current is maker:
            return True
        if current is node:
            return False
    return False


def _rewrite(node: ir.Node, last: ir.Value, graph: ir.Graph) -> None:
    out = node.outputs[0]
    assert last.shape is not None
    target = constant(graph, np.array([0, -1, last.shape[3]], np.int64), "tokens")
    rows = new_node("Reshape", [last, target], like=out)
    inputs = [*node.inputs, rows.outputs[0]]
    dispatch = new_node("SlotDispatchAdd", inputs, domain="attnc", like=out)
    replace(graph, node, [], [rows, dispatch])
