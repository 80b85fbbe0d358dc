"""Fuses squeeze-and-excite.

x -+-> GlobalAveragePool -> Conv1x1 -> ReLU -> Conv1x1 -> Sigmoid -+-> Mul
   +---------------------------------------------------------------+
=>  SqueezeExcite(x, w1, b1, w2, b2)
"""

from __future__ import annotations

from typing import Any

from attnc.passes.activations import RELU
from attnc.passes.fuse.rule import ATTNC, Refused, Rule, activation, clamp, pointwise
from attnc.passes.rules import RulePass


class _SqueezeExcite(Rule):
    """x * sigmoid(conv2(relu(conv1(mean(x)))))."""

    gate = "Sigmoid"

    def pattern(self, op: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        first = op.Conv(op.GlobalAveragePool(x), w1, b1, _outputs=["first"])
        second = op.Conv(activation(op, first, "act"), w2, b2, _outputs=["second"])
        return op.Mul(x, getattr(op, self.gate)(second))

    def conditions(self, **bindings: Any) -> None:
        pointwise(bindings["first"], "the first layer of the gate")
        pointwise(bindings["second"], "the second layer of the gate")
        if clamp(bindings["act"]) != RELU:
            raise Refused("the activation inside the gate is not ReLU")
        gate, x = bindings["second"].shape, bindings["x"].shape
        if gate is None or x is None or gate[1] != x[1]:
            raise Refused("the gate has another number of channels than x")

    def rewrite(self, op: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any, **bindings: Any) -> Any:
        return op.SqueezeExcite(x, w1, b1, w2, b2, **ATTNC)


class _HardSigmoidGate(_SqueezeExcite):
    """The gate of MobileNetV3: recognised to say that it is not supported."""

    gate = "HardSigmoid"

    def conditions(self, **bindings: Any) -> None:
        raise Refused("the gate is HardSigmoid, SqueezeExcite computes Sigmoid")


def fuse_squeeze_excite() -> RulePass:
    """The pass."""
    return RulePass(
        "fuse_squeeze_excite",
        "five nodes on one pixel and a pass over the map: one operator with one pass",
        [_SqueezeExcite, _HardSigmoidGate],
    )
