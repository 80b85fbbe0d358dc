"""Norms that are written out stay float32: squares overflow in float16, epsilons vanish.

x -> ReduceL2 -> Clip(1e-12) -> Expand -> Div(x, .)
x -> ReduceMean -> Sub -> Mul(c, c) -> ReduceMean -> Add(1e-6) -> Sqrt -> Div(c, .)
  float32: all of these, behind one Cast of x; the Div is cast down

An operator for a whole norm computes inside in float32 and needs none of this.
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.passes.graph import is_const, is_op, scalar
from attnc.passes.precision.kinds import MOVEMENT
from attnc.passes.precision.low import is_float
from attnc.passes.precision.plan import Plan, computed

REASON = "a written-out norm"
LARGEST_EPSILON = 1e-3
_WHOLE = ("LpNormalization", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare")
_REDUCTIONS = ("ReduceMean", "ReduceSum")
_ONE_SIDED = ("Add", "Clip", "Div", "Max", "Min", "Mul", "Pow", "Sub")  # with a constant
_INVERSES = ("Log", "Reciprocal", "Sqrt")


def keep_norms(plan: Plan) -> None:
    """Every part of a norm that is no operator of its own."""
    for node in plan.graph:
        found = _behind_seed(node)
        if found is None:
            continue
        for inner in [node, *found]:
            plan.keep(inner, REASON)
        follow(node, REASON, plan)


def _behind_seed(node: ir.Node) -> list[ir.Node] | None:
    """Nodes in front of a seed that belong to the norm; None if `node` is no seed."""
    if is_op(node, *_WHOLE) and is_float(node.inputs[0]):
        return []
    if is_op(node, *_REDUCTIONS) and _squared(node.inputs[0]) is not None:
        return _squares(node)
    if _is_root(node):
        return _behind(node.inputs[0]) or None
    if _adds_epsilon(node) and _is_divisor(node.outputs[0]):
        return _behind(computed(node)[0])
    return None


def _is_root(node: ir.Node) -> bool:
    if is_op(node, "Pow"):
        return is_float(node.inputs[0]) and scalar(node.inputs[1]) in (0.5, -0.5)
    return is_op(node, "Sqrt") and is_float(node.inputs[0])


def _adds_epsilon(node: ir.Node) -> bool:
    if not is_op(node, "Add", "Clip", "Max") or len(computed(node)) != 1:
        return False
    found = [scalar(value) for value in node.inputs if is_float(value) and is_const(value)]
    return any(number is not None and 0 < number <= LARGEST_EPSILON for number in found)


def _is_divisor(value: ir.Value) -> bool:
    """Whether a Div, a root or a logarithm reads it, be it moved before."""
    for use in value.uses():
        if is_op(use.node, *_INVERSES) or _is_root(use.node):
            return True
        if is_op(use.node, "Div") and use.idx == 1:
            return True
        if is_op(use.node, *MOVEMENT) and _is_divisor(use.node.outputs[0]):
            return True
    return False


def _behind(value: ir.Value | None) -> list[ir.Node]:
    """From a root back over epsilons and reductions to the squares of what is normalised."""
    node = value.producer() if value is not None else None
    if node is None or not is_float(value):
        return []
    sources = computed(node)
    if is_op(node, *_WHOLE):
        return [node]
    if is_op(node, *_REDUCTIONS):
        return [node, *_squares(node)]
    if is_op(node, *MOVEMENT) or (is_op(node, *_ONE_SIDED) and len(set(sources)) == 1):
        inner = _behind(sources[0]) if sources else []
        return [node, *inner] if inner or _adds_epsilon(node) else []
    if is_op(node, "Sub"):  # the mean of squares less the square of the mean
        inner = [part for source in sources for part in _behind(source)]
        return [node, *inner] if inner else []
    return []


def _squared(value: ir.Value | None) -> ir.Value | None:
    """x, if `value` is its square."""
    node = value.producer() if value is not None else None
    if node is None or not is_float(value):
        return None
    if is_op(node, "Mul") and node.inputs[0] is node.inputs[1]:
        return node.inputs[0]
    return node.inputs[0] if is_op(node, "Pow") and scalar(node.inputs[1]) == 2.0 else None


def _squares(reduction: ir.Node) -> list[ir.Node]:
    """What a reduction of squares reads: the Mul, and the Sub of a mean in front of it."""
    data = reduction.inputs[0]
    x = _squared(data)
    square = data.producer() if data is not None else None
    if x is None or square is None:
        return []
    centred = x.producer()
    if centred is None or not is_op(centred, "Sub"):
        return [square]
    for side in centred.inputs:
        mean = _mean(side)
        if mean:
            return [square, centred, *mean]
    return [square]


def _mean(value: ir.Value | None) -> list[ir.Node]:
    """The ReduceMean of a value and what moves its result; empty if there is none."""
    node = value.producer() if value is not None else None
    if node is None or not is_float(value):
        return []
    if is_op(node, *_REDUCTIONS):
        return [node]
    if is_op(node, *MOVEMENT) or (is_op(node, "Mul", "Div") and len(computed(node)) == 1):
        inner = _mean(node.inputs[0])
        return [node, *inner] if inner else []
    return []


def follow(node: ir.Node, reason: str, plan: Plan) -> None:
    """Keep what makes a divisor of the results, and the division."""
    for user in [user for value in node.outputs for user in plan.users(value)]:
        single = len(computed(user)) == 1
        if is_op(user, "Div", "Mul") and not single:
            plan.keep(user, reason)
        elif _is_step(user, single) and plan.keep(user, reason):
            follow(user, reason, plan)


def _is_step(node: ir.Node, single: bool) -> bool:
    always = is_op(node, *MOVEMENT, *_REDUCTIONS, *_INVERSES)
    return always or (single and is_op(node, *_ONE_SIDED))
