"""One form of the exact GELU: the operator Gelu.

x -+-> Div(1.414) -> Erf -> Add(1) -> Mul -> Mul(0.5)        =>        Gelu(x)
   +----------------------------------^
The factors x, 0.5 and 1 + erf may be multiplied in any order.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import Refuse, is_op, new_node, opset, replace, scalar, sole_user
from attnc.passes.views import factor_of

FIRST_OPSET = 20  # of the operator
TOLERANCE = 1e-5  # constants are often rounded to six digits


class CanonicalGelu(AnchorPass):
    """x * 0.5 * (1 + erf(x / sqrt(2))), however it is bracketed."""

    name = "canonical_gelu"
    reason = "exporters for opset 19 and older write GELU out in five nodes"
    anchors = frozenset({"Erf"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the last product."""
        x, factor = _scaled(node.inputs[0])
        one = sole_user(node.outputs[0])
        if x is None or one is None or not is_op(one, "Add") or 1.0 not in map(scalar, one.inputs):
            return False
        if not math.isclose(factor, math.sqrt(0.5), rel_tol=TOLERANCE):
            raise Refuse(f"its operand is {factor:.6g} x, not x / sqrt(2)")
        root, passed = _product(one, x)
        if opset(graph) < FIRST_OPSET:
            raise Refuse(f"opset {opset(graph)} has no Gelu")
        replace(graph, root, [node, one, *passed], [new_node("Gelu", [x], like=root.outputs[0])])
        return True


def _scaled(value: ir.Value | None) -> tuple[ir.Value | None, float]:
    """(v, f) where `value` is f * v."""
    node = value.producer() if value is not None else None
    factor = factor_of(node) if node is not None else None
    if node is None or factor is None:
        return value, 1.0
    data = node.inputs[1] if scalar(node.inputs[0]) is not None else node.inputs[0]
    return data, factor


def _product(start: ir.Node, x: ir.Value) -> tuple[ir.Node, list[ir.Node]]:
    """The node that makes x * 0.5 * start, and those on the way to it."""
    node, total, seen, passed = start, 1.0, False, list[ir.Node]()
    while not (seen and math.isclose(total, 0.5, rel_tol=TOLERANCE)):
        user = sole_user(node.outputs[0])
        if user is None or not is_op(user, "Mul", "Div"):
            raise Refuse("1 + erf is not multiplied by x / 2", start)
        factor = factor_of(user)
        if factor is None:
            other, factor = _scaled(_other(user, node))
            if is_op(user, "Div") or other is not x or seen:
                raise Refuse("1 + erf is multiplied by something else than x", user)
            seen = True
        total *= factor
        passed.append(user)
        node = user
    return node, passed[:-1]


def _other(user: ir.Node, node: ir.Node) -> ir.Value | None:
    return user.inputs[1] if user.inputs[0] is node.outputs[0] else user.inputs[0]
