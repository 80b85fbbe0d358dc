"""Sequences of tensors that are taken apart at once become Splits.

x -> SplitToSequence([8, 24]) -> SequenceAt(0)        =>        x -> Split([8, 24]) -> ..
                              -> SequenceAt(1)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.compiler.provenance import copy_metadata
from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import (
    Refuse,
    attribute,
    const,
    constant,
    input_at,
    is_op,
    scalar,
    shape,
)


class CanonicalSequence(AnchorPass):
    """SplitToSequence whose parts are all taken by constant index."""

    name = "canonical_sequence"
    reason = "an exporter that folds nothing writes torch.split as a sequence"
    anchors = frozenset({"SplitToSequence"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the sequence by one Split."""
        users = [use.node for use in node.outputs[0].uses()]
        if node.outputs[0].is_graph_output() or not all(is_op(u, "SequenceAt") for u in users):
            raise Refuse("the sequence is used as a whole")
        places = [scalar(user.inputs[1]) for user in users]
        if any(place is None for place in places):
            raise Refuse("an index into the sequence is not a constant")
        parts = _parts(node)
        sizes = constant(graph, np.array(parts, np.int64), "parts")
        axis = attribute(node, "axis", 0)
        split = ir.node("Split", [node.inputs[0], sizes], {"axis": axis}, num_outputs=len(parts))
        for user, place in zip(users, places, strict=True):
            assert place is not None
            old, new = user.outputs[0], split.outputs[int(place) % len(parts)]
            new.shape, new.type = old.shape, old.type
            ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        split.name = node.name
        copy_metadata([node], [split])
        graph.insert_before(node, [split])
        return True


def _parts(node: ir.Node) -> list[int]:
    """The sizes of the parts along the axis."""
    sizes, given = shape(node.inputs[0]), const(input_at(node, 1))
    if sizes is None or given is None or not attribute(node, "keepdims", 1):
        raise Refuse("the sizes of its parts are not known")
    if given.ndim == 1:
        return [int(size) for size in given]
    whole, each = sizes[attribute(node, "axis", 0)], int(given)
    if whole is None:
        raise Refuse("it splits a symbolic size")
    return [min(each, whole - start) for start in range(0, whole, each)]
