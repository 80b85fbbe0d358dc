"""Reads masks off a graph: which entries of the last axis are the largest, or above a threshold.

TopK -> ScatterElements(zeros, indices, ones) -> Cast, Not, Greater, And ...   (a mask)
TopK -> ScatterElements(zeros, indices, values), Where(mask, x, 0)             (sparse values)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import Refuse, attribute, is_op, scalar
from attnc.passes.sparse.counts import number_of
from attnc.passes.sparse.fills import fill_of


@dataclass(frozen=True)
class Selection:
    """Of `of`, the `count` largest (None: all) and of these what is above `threshold`.

    `inverted`: the mask is true where something is not selected.
    """

    of: ir.Value
    count: int | None
    threshold: float | None
    nodes: tuple[ir.Node, ...]
    inverted: bool = False

    def by(self, *nodes: ir.Node, flipped: bool = False) -> Selection:
        """The same behind more nodes."""
        return replace(self, nodes=(*self.nodes, *nodes), inverted=self.inverted != flipped)


def selection_of(value: ir.Value | None) -> Selection | None:
    """The selection whose mask (booleans, or ones and zeros) `value` is; None if it is none."""
    node = value.producer() if value is not None else None
    if node is None:
        return None
    if is_op(node, "Cast", "Identity", "Not"):
        found = selection_of(node.inputs[0])
        return found.by(node, flipped=is_op(node, "Not")) if found else None
    for op_type, read in (
        ("ScatterElements", _scattered),
        ("And", _both),
        ("Where", _chosen_constants),
    ):
        if is_op(node, op_type):
            return read(node)
    return _compared(node)


def sparse_values_of(value: ir.Value | None) -> Selection | None:
    """The selection whose entries `value` keeps, with zeros elsewhere."""
    node = value.producer() if value is not None else None
    if node is not None and is_op(node, "ScatterElements"):
        return _scattered_values(node)
    if node is not None and is_op(node, "Where"):
        return _kept_by_where(node)
    if node is not None and is_op(node, "Mul"):
        for mask, data in (node.inputs, node.inputs[::-1]):
            found = selection_of(mask)
            if found and not found.inverted and found.of is data:
                return found.by(node)
    return None


def _scattered_values(node: ir.Node) -> Selection | None:
    top = _top(node.inputs[1])
    if top is None or not _last_axis(node) or fill_of(node.inputs[0]) != 0:
        return None
    return _selection_of_top(top).by(node) if node.inputs[2] is top.outputs[0] else None


def _kept_by_where(node: ir.Node) -> Selection | None:
    found = selection_of(node.inputs[0])
    if found is None:
        return None
    kept, other = node.inputs[1:3]
    if found.inverted:
        kept, other = other, kept
    if fill_of(other) != 0:
        return None
    inner = sparse_values_of(kept)
    if inner is not None and found.of is kept:  # what is left of the largest, above a threshold
        return replace(inner, threshold=found.threshold).by(*found.nodes, node)
    return replace(found, inverted=False).by(node) if found.of is kept else None


def _top(indices: ir.Value | None) -> ir.Node | None:
    node = indices.producer() if indices is not None else None
    if node is None or not is_op(node, "TopK") or indices is not node.outputs[1]:
        return None
    return node


def _selection_of_top(top: ir.Node) -> Selection:
    count, of = number_of(top.inputs[1]), top.inputs[0]
    if count is None:
        raise Refuse("how many of the scores are kept depends on the picture", top)
    if not attribute(top, "largest", 1):
        raise Refuse("the smallest scores are kept", top)
    if not _last_axis(top):
        raise Refuse("the largest are not taken along the last axis", top)
    assert of is not None
    return Selection(of, count, None, (top,))


def _scattered(node: ir.Node) -> Selection | None:
    top = _top(node.inputs[1])
    if top is None or not _last_axis(node):
        return None
    before, after = fill_of(node.inputs[0]), fill_of(node.inputs[2])
    if (before, after) not in ((0.0, 1.0), (1.0, 0.0)):
        return None
    return _selection_of_top(top).by(node, flipped=before == 1.0)


def _last_axis(node: ir.Node) -> bool:
    rank = node.inputs[0].shape.rank() if node.inputs[0] and node.inputs[0].shape else None
    axis = attribute(node, "axis", -1 if node.op_type == "TopK" else 0)
    return bool(axis == -1 or (rank is not None and axis == rank - 1))


def _both(node: ir.Node) -> Selection | None:
    """Two masks over the same scores."""
    one, other = (selection_of(value) for value in node.inputs)
    if one is None or other is None or one.inverted or other.inverted or one.of is not other.of:
        return None
    counts = [s.count for s in (one, other) if s.count is not None]
    limits = [s.threshold for s in (one, other) if s.threshold is not None]
    return Selection(
        one.of,
        min(counts) if counts else None,
        max(limits) if limits else None,
        (*one.nodes, *other.nodes, node),
    )


def _chosen_constants(node: ir.Node) -> Selection | None:
    """Where(mask, 1, 0) or the other way round."""
    found, values = selection_of(node.inputs[0]), [fill_of(v) for v in node.inputs[1:3]]
    if found is None or values not in ([1.0, 0.0], [0.0, 1.0]):
        return None
    return found.by(node, flipped=values == [0.0, 1.0])


def _compared(node: ir.Node) -> Selection | None:
    """A comparison with a number: of a mask, or of the scores themselves."""
    if not is_op(node, "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"):
        return None
    left, right = node.inputs
    number, data, mirrored = scalar(right), left, False
    if number is None:
        number, data, mirrored = scalar(left), right, True
    if number is None or data is None:
        return None
    mask = selection_of(data)
    if mask is not None and mask.count is not None:
        compare = _COMPARE[node.op_type]
        at = [bool(compare(number, x) if mirrored else compare(x, number)) for x in (0.0, 1.0)]
        return mask.by(node, flipped=at == [True, False]) if at[0] != at[1] else None
    strictly_above = is_op(node, "Less" if mirrored else "Greater")
    if strictly_above or is_op(node, "GreaterOrEqual" if mirrored else "LessOrEqual"):
        return Selection(data, None, number, (node,), inverted=not strictly_above)
    return None


_COMPARE = {
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Equal": np.equal,
}
