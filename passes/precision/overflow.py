"""Regions whose numbers the low type cannot hold, by constants and by recorded ranges.

scores -> Where(mask, scores, -3.4e38) -> Softmax -> MatMul      stays float32 up to the Softmax
MatMul (|y| up to 90000) -> Add -> Mul(0.001) -> MatMul           float32 up to the Mul

A product whose result is too large gets its inputs cast up; one that reads too large a value
likewise, and there the region ends, unless its own result is known to be too large as well.
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.passes.graph import is_const, is_op
from attnc.passes.precision.kinds import COMPARISONS, is_bounded, is_product
from attnc.passes.precision.low import Trouble, is_float
from attnc.passes.precision.norms import follow
from attnc.passes.precision.plan import Plan

_UNDERFLOW = "a constant underflows in {low}"
_OVERFLOW = "a constant does not fit into {low}"
_RANGE = "recorded values reach {size:.3g}, more than {low} may hold"


def keep_large_constants(plan: Plan) -> None:
    """Nodes with a constant that overflows, and what its size may reach behind them."""
    for node in plan.graph:
        if _overflows(node, plan) and plan.slots.refusal(node) is None:
            reason = _OVERFLOW.format(low=plan.low.name)
            plan.keep(node, reason)
            if not is_product(node) and not _only_bounds(node):
                _spill(node, reason, plan)


def keep_small_constants(plan: Plan) -> None:
    """Nodes with a constant that is nothing but underflow."""
    for node in plan.graph:
        if any(plan.trouble(value) is Trouble.UNDERFLOW for value in _given(node, plan)):
            reason = _UNDERFLOW.format(low=plan.low.name)
            plan.keep(node, reason)
            if is_op(node, "Add", "Clip", "Max", "Sub"):
                follow(node, reason, plan)


def keep_ranges(plan: Plan) -> None:
    """Producers and readers of values that were seen to be too large."""
    values = [*plan.graph.inputs, *(out for node in plan.graph for out in node.outputs)]
    for value in values:
        size = _recorded(value, plan)
        if size is None or size <= plan.low.safe or not is_float(value):
            continue
        reason = _RANGE.format(size=size, low=plan.low.name)
        producer = value.producer()
        if producer is not None:
            plan.keep(producer, reason)
        for user in _readers(value, plan):
            plan.keep(user, reason)
            _spill(user, reason, plan)


def _spill(node: ir.Node, reason: str, plan: Plan) -> None:
    """Keep what reads the results of `node`, until they are small again."""
    if is_bounded(node, plan.low.safe) or is_product(node):
        return
    for value in node.outputs:
        size = _recorded(value, plan)
        if not is_float(value) or (size is not None and size <= plan.low.safe):
            continue
        for user in _readers(value, plan):
            if plan.keep(user, reason):
                _spill(user, reason, plan)


def _readers(value: ir.Value, plan: Plan) -> list[ir.Node]:
    """Nodes that compute with the value (a Shape does not)."""
    found = [
        use.node
        for use in value.uses()
        if use.node.graph is plan.graph
        and plan.slots.refusal(use.node) is None
        and plan.slots.input(use.node, use.idx) is not None
    ]
    return list(dict.fromkeys(found))


def _recorded(value: ir.Value, plan: Plan) -> float | None:
    return plan.ranges.get(value.name or "")


def _overflows(node: ir.Node, plan: Plan) -> bool:
    for value in _given(node, plan):
        found = plan.trouble(value)
        if found is Trouble.OVERFLOW or (found is Trouble.LARGE and not is_product(node)):
            return True
    return is_op(node, "ConstantOfShape") and _fills_large(node, plan)


def _only_bounds(node: ir.Node) -> bool:
    """Whether a large constant cannot make the result large."""
    return is_op(node, "Clip", *COMPARISONS) or (is_op(node, "Div") and is_const(node.inputs[1]))


def _fills_large(node: ir.Node, plan: Plan) -> bool:
    fill = node.attributes.get("value")
    return fill is not None and is_float(node.outputs[0]) and _size(fill) > plan.low.safe


def _size(fill: ir.Attr) -> float:
    return abs(float(fill.as_tensor().numpy().reshape(())))


def _given(node: ir.Node, plan: Plan) -> list[ir.Value]:
    """The inputs that would be rounded."""
    if plan.slots.refusal(node) is not None:
        return []
    return [
        value
        for index, value in enumerate(node.inputs)
        if value is not None and is_float(value) and plan.slots.input(node, index) == plan.low.dtype
    ]
