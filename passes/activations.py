"""Activations that the fused operators can carry: a clamp to [min, max].

ReLU is [0, none], ReLU6 and Hardtanh are Clips with constant bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.passes.graph import attribute, input_at, is_op, scalar


@dataclass(frozen=True)
class Clamp:
    """y = min(max(x, min), max); the ends of float32 stand for none."""

    min: float = NO_MIN
    max: float = NO_MAX

    def attributes(self) -> dict[str, float]:
        """As node attributes."""
        return {"min": self.min, "max": self.max}


NONE = Clamp()
RELU = Clamp(min=0.0)


def clamp_of(node: ir.Node | None) -> Clamp | None:
    """The clamp that a Relu or a Clip with constant bounds computes; None for anything else."""
    if node is None:
        return None
    if is_op(node, "Relu"):
        return RELU
    if not is_op(node, "Clip"):
        return None
    bounds = []
    for index, name, default in ((1, "min", NO_MIN), (2, "max", NO_MAX)):
        value = input_at(node, index)
        bound = attribute(node, name, default) if value is None else scalar(value)
        if bound is None:
            return None
        bounds.append(float(min(max(bound, NO_MIN), NO_MAX)))
    return Clamp(*bounds) if bounds[0] <= bounds[1] else None


def through_clamp(value: ir.Value) -> tuple[ir.Value, Clamp, list[ir.Node]]:
    """The value before its activation, the clamp, and the activation's node (none: no clamp)."""
    node = value.producer()
    clamp = clamp_of(node)
    if node is None or clamp is None:
        return value, NONE, []
    data = node.inputs[0]
    assert data is not None
    return data, clamp, [node]
