"""Reads the mask of a softmax, row by row: a choice of keys, and masks of whole queries with it.

Concat(ones, choice), And(choice, active queries), Mul(choice, active queries), Where(., choice, 0)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from attnc.passes.graph import Refuse, const, is_op, scalar, shape
from attnc.passes.sparse.fills import fill_of
from attnc.passes.sparse.selection import Selection, selection_of


@dataclass(frozen=True)
class RowMask:
    """Queries see nothing where `value` is false (true, if `inverted`), from row `start` on."""

    value: ir.Value
    start: int
    inverted: bool


@dataclass(frozen=True)
class MaskPart:
    """`count` rows that see the keys of `keys` (None: all), if their query is in all `queries`."""

    count: int
    keys: Selection | None
    queries: tuple[RowMask, ...] = ()
    nodes: tuple[ir.Node, ...] = ()


def over_rows(node: ir.Node) -> bool:
    """Whether a Concat puts rows together."""
    sizes, axis = shape(node.outputs[0]), node.attributes.get("axis")
    at = 0 if axis is None else int(axis.value)
    return sizes is not None and at % len(sizes) == len(sizes) - 2


def mask_parts(value: ir.Value | None, rows: int, inverted: bool) -> list[MaskPart]:
    """The mask of `rows` rows, cut where it is put together; refuses what it cannot read.

    `inverted`: the mask marks what is hidden.
    """
    node = value.producer() if value is not None else None
    found = selection_of(value)
    if found is not None and not _is_about_a_mask(found):
        if found.inverted != inverted:
            raise Refuse("the keys that score best are hidden, the others are seen", node)
        return [MaskPart(rows, found)]
    number = fill_of(value)
    if number is not None:
        if bool(number) == inverted:
            raise Refuse("some queries see no key", node)
        return [MaskPart(rows, None)]
    if node is not None and is_op(node, "Concat") and over_rows(node):
        return _grown(_concatenated(node, inverted), node)
    passed, flips = _passed(node)
    if node is not None and passed is not None:
        return _grown(mask_parts(passed, rows, inverted != flips), node)
    operands = _operands(node, inverted)
    if node is not None and operands:
        return _joined(node, operands, rows, inverted)
    what = node.op_type if node is not None else "an input of the graph"
    raise Refuse(f"the mask of the scores comes from {what}, not from a choice of scores", node)


def _passed(node: ir.Node | None) -> tuple[ir.Value | None, bool]:
    """The mask that a node only says in another way, and whether it says the opposite."""
    if node is None or not is_op(node, "Not", "Cast", "Identity", "Greater", "Equal"):
        return None, False
    if is_op(node, "Greater", "Equal") and scalar(node.inputs[1]) is None:
        return None, False
    zero = is_op(node, "Equal") and scalar(node.inputs[1]) == 0
    return node.inputs[0], zero or is_op(node, "Not")


def _operands(node: ir.Node | None, inverted: bool) -> list[ir.Value | None]:
    """The masks that must both let a key be seen; none where the node is no such join."""
    if is_op(node, "Or" if inverted else "And") or (is_op(node, "Mul") and not inverted):
        return list(node.inputs) if node is not None else []
    if node is not None and is_op(node, "Where") and not inverted and fill_of(node.inputs[2]) == 0:
        return [node.inputs[1], node.inputs[0]]
    return []


def _is_about_a_mask(found: Selection) -> bool:
    """Whether a comparison asks for what is above zero in a mask that is put together."""
    made = found.of.producer()
    return found.count is None and found.threshold == 0 and is_op(made, "Concat", "Mul")


def _concatenated(node: ir.Node, inverted: bool) -> list[MaskPart]:
    found: list[MaskPart] = []
    for part in node.inputs:
        sizes = shape(part)
        if sizes is None or len(sizes) < 2 or sizes[-2] is None:
            raise Refuse("the mask is put together from parts of unknown size", node)
        found += mask_parts(part, sizes[-2], inverted)
    return found


def _joined(
    node: ir.Node, operands: list[ir.Value | None], rows: int, inverted: bool
) -> list[MaskPart]:
    """A choice of keys, and a mask of queries beside it: [.., rows, 1], or of one row for all."""
    for keys, queries in (operands, operands[::-1]):
        sizes = shape(queries)
        if queries is None or const(queries) is not None or not sizes or sizes[-1] != 1:
            continue
        start, found = 0, list[MaskPart]()
        for part in mask_parts(keys, rows, inverted):
            mask = RowMask(queries, start, inverted)
            found.append(replace(part, queries=(*part.queries, mask)))
            start += part.count
        return _grown(found, node)
    raise Refuse("the choice of keys is joined with another mask", node)


def _grown(parts: list[MaskPart], node: ir.Node) -> list[MaskPart]:
    return [replace(part, nodes=(*part.nodes, node)) for part in parts]
