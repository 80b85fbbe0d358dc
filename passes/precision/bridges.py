"""Borders that are settled by what stands around: no Cast down only to be cast up again.

float32 region -> Reshape -> float32 region     =>   the Reshape is float32
Cast(mask, to float32) -> float32 region        =>   stays
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.passes.graph import is_op
from attnc.passes.precision.kinds import NORMS, is_border, is_product
from attnc.passes.precision.low import FLOAT, is_float
from attnc.passes.precision.plan import Plan, computed, neighbours

BRIDGE = "between float32 nodes"
MIXED = "next to a Cast between float32 and a low type that was there"


def keep_impossible(plan: Plan) -> None:
    """Nodes that cannot compute in the low type."""
    for node in plan.graph:
        places = [*node.inputs, *node.outputs]
        reason = plan.slots.refusal(node) if any(is_float(value) for value in places) else None
        if reason is not None:
            plan.keep(node, reason)


def keep_mixed(plan: Plan) -> None:
    """Float32 nodes beside the Casts of a graph that is of two types already."""
    stack = [node for node in plan.graph if is_border(node)]
    while stack:
        node = stack.pop()
        if plan.keep(node, MIXED):
            stack.extend(n for n in neighbours(node, plan.graph) if _has_float(n))


def keep_bridges(plan: Plan) -> None:
    """Nodes that read float32 only and are read as float32 only."""
    inner = set[ir.Node]()
    for node in plan.graph:
        if node in plan.kept or is_product(node) or is_op(node, *NORMS) or not _has_float(node):
            continue
        if all(_made_float(value, inner, plan) for value in computed(node)):
            inner.add(node)
    for node in reversed(plan.graph):
        if node in inner and _read_as_float(node, plan):
            plan.keep(node, BRIDGE)


def _read_as_float(node: ir.Node, plan: Plan) -> bool:
    values = [value for value in node.outputs if is_float(value)]
    wanted = {plan.wanted(use.node, use.idx) for value in values for use in value.uses()}
    if any(value.is_graph_output() for value in values):
        wanted.add(plan.outside)
    return FLOAT in wanted and plan.low.dtype not in wanted


def _made_float(value: ir.Value, inner: set[ir.Node], plan: Plan) -> bool:
    maker = value.producer()
    return plan.outside == FLOAT if maker is None else maker in plan.kept or maker in inner


def _has_float(node: ir.Node) -> bool:
    return bool(computed(node)) or any(is_float(value) for value in node.outputs)
