"""Reads softmaxes over masked scores off a graph, row by row: which rows see which keys.

one softmax for all:   Concat(ones, mask) -> Where(., scores, -inf) -> Softmax -> (nan_to_num)
one for each part:     Concat(Softmax(row 0), Softmax(Where(mask, rows 1.., -inf)))
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from attnc.passes.graph import attribute, is_op, scalar, shape
from attnc.passes.sparse.fills import fill_of
from attnc.passes.sparse.row_masks import MaskPart, mask_parts, over_rows

#: Comparisons that ask whether a number is finite, and what joins them.
_FINITE = ("IsNaN", "IsInf", "Greater", "Less", "And", "Or", "Not", "Equal", "Cast")


@dataclass(frozen=True)
class Rows:
    """Some rows of attention weights: softmax of `logits`, whose keys `mask` selects.

    `zero`: a row without any key is zero (otherwise it is NaN).
    """

    mask: MaskPart
    logits: ir.Value
    softmax: ir.Node
    zero: bool
    nodes: tuple[ir.Node, ...]

    @property
    def count(self) -> int:
        """How many rows."""
        return self.mask.count


def rows_of(weights: ir.Value | None) -> list[Rows]:
    """The parts of attention weights, from the first row on; empty if they are not softmaxes."""
    node = weights.producer() if weights is not None else None
    if node is None:
        return []
    if is_op(node, "Concat") and over_rows(node):
        parts = [rows_of(value) for value in node.inputs]
        if not all(parts):
            return []
        joined = [part for found in parts for part in found]
        return [replace(part, nodes=(*part.nodes, node)) for part in joined]
    return _softmaxes(weights)


def _softmaxes(weights: ir.Value | None) -> list[Rows]:
    value, outer, zero, guard = weights, list[ir.Node](), False, None
    while True:
        node = value.producer() if value is not None else None
        if node is None:
            return []
        if is_op(node, "Softmax"):
            break
        stripped = _finite_or(node) if is_op(node, "Where") else None
        if stripped is not None:
            value, zero, more = stripped[0], zero or stripped[1], stripped[2]
            outer += [node, *more]
        elif is_op(node, "Where") and guard is None and fill_of(node.inputs[2]) == 0:
            guard, value = node, node.inputs[1]
        else:
            return []
    return _parts(node, outer, zero, guard)


def _parts(softmax: ir.Node, outer: list[ir.Node], zero: bool, guard: ir.Node | None) -> list[Rows]:
    sizes = shape(softmax.inputs[0])
    if sizes is None or attribute(softmax, "axis", -1) % len(sizes) != len(sizes) - 1:
        return []
    rows, scores = sizes[-2], softmax.inputs[0]
    if rows is None or scores is None:
        return []
    node = scores.producer()
    hidden = _hidden(node) if node is not None and is_op(node, "Where") else None
    if hidden is None:
        whole = Rows(MaskPart(rows, None), scores, softmax, zero, (softmax, *outer))
        return [whole] if guard is None else []
    mask_value, inverted, logits = hidden
    assert node is not None
    if guard is not None:
        if guard.inputs[0] is not mask_value or inverted:
            return []
        zero, outer = True, [*outer, guard]
    nodes = (*_negation(node), node, softmax, *outer)
    parts = mask_parts(mask_value, rows, inverted)
    return [Rows(part, logits, softmax, zero, (*part.nodes, *nodes)) for part in parts]


def _hidden(node: ir.Node) -> tuple[ir.Value, bool, ir.Value] | None:
    """Where with -inf on one side: the condition, whether it marks what is hidden, the rest."""
    condition, yes, no = node.inputs
    assert condition is not None
    for negation in _negation(node):
        assert negation.inputs[0] is not None
        condition, yes, no = negation.inputs[0], no, yes
    for other, kept, inverted in ((no, yes, False), (yes, no, True)):
        number = fill_of(other)
        if number is not None and number < -1e30 and kept is not None:
            return condition, inverted, kept
    return None


def _negation(node: ir.Node) -> tuple[ir.Node, ...]:
    """The Not in front of the condition of this Where, if there is one."""
    maker = node.inputs[0].producer() if node.inputs[0] is not None else None
    return (maker,) if maker is not None and is_op(maker, "Not") else ()


def _finite_or(node: ir.Node) -> tuple[ir.Value, bool, list[ir.Node]] | None:
    """One step of nan_to_num: Where(not finite, number, x); x, whether for NaN, and its nodes."""
    condition, yes, no = node.inputs
    for number, data, flipped in ((yes, no, False), (no, yes, True)):
        if scalar(number) is None or data is None:
            continue
        nodes: list[ir.Node] = []
        kinds = _questions(condition, nodes)
        if kinds is None or (flipped and "Not" not in kinds):
            continue
        if "IsNaN" in kinds or "Equal" in kinds:
            return (data, True, nodes) if scalar(number) == 0 else None
        if "IsInf" in kinds:
            return data, False, nodes
    return None


def _questions(value: ir.Value | None, nodes: list[ir.Node]) -> set[str] | None:
    """The kinds of comparisons that make a condition; None if it is anything else."""
    node = value.producer() if value is not None else None
    if node is None or not is_op(node, *_FINITE):
        return None
    nodes.append(node)
    if is_op(node, "IsNaN", "IsInf"):
        asked = node.inputs[0].producer() if node.inputs[0] is not None else None
        nodes += [asked] if asked is not None and is_op(asked, "Cast") else []
        return {node.op_type}
    if is_op(node, "Greater", "Less"):
        return {node.op_type} if scalar(node.inputs[1]) == 0 else None
    if is_op(node, "Equal"):  # x == x, false for NaN
        return {"Equal"} if node.inputs[0] is node.inputs[1] else None
    kinds = {node.op_type}
    for part in node.inputs:
        inner = _questions(part, nodes)
        if inner is None:
            return None
        kinds |= inner
    return kinds
