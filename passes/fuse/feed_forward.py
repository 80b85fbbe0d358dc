"""Fuses the convolutional feed-forward block, residual included.

x -+-> Conv1x1 -> ReLU -> Conv1x1 -+-> Add        =>        FeedForward(x, w1, b1, w2, b2)
   +-------------------------------+
"""

from __future__ import annotations

from typing import Any

from attnc.passes.activations import NONE
from attnc.passes.fuse.rule import ATTNC, Refused, Rule, activation, clamp, pointwise
from attnc.passes.rules import RulePass


class _FeedForward(Rule):
    """x + conv2(act(conv1(x)))."""

    def pattern(self, op: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        hidden = op.Conv(x, w1, b1, _outputs=["first"])
        return op.Add(x, op.Conv(activation(op, hidden, "act"), w2, b2, _outputs=["second"]))

    def conditions(self, **bindings: Any) -> None:
        pointwise(bindings["first"], "the first layer")
        pointwise(bindings["second"], "the second layer")
        self._clamp(bindings)
        if bindings["x"].shape is None or bindings["x"].shape != bindings["second"].shape:
            raise Refused("the residual add broadcasts")

    def rewrite(self, op: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any, **bindings: Any) -> Any:
        attributes = self._clamp(bindings).attributes()
        return op.FeedForward(x, w1, b1, w2, b2, **attributes, **ATTNC)

    def _clamp(self, bindings: dict[str, Any]) -> Any:
        return clamp(bindings["act"])


class _LinearFeedForward(_FeedForward):
    """The same without an activation between the layers."""

    def pattern(self, op: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        hidden = op.Conv(x, w1, b1, _outputs=["first"])
        return op.Add(x, op.Conv(hidden, w2, b2, _outputs=["second"]))

    def _clamp(self, bindings: dict[str, Any]) -> Any:
        return NONE


def fuse_feed_forward() -> RulePass:
    """The pass."""
    return RulePass(
        "fuse_feed_forward",
        "the hidden layer is the largest tensor of a block and need not reach memory",
        [_FeedForward, _LinearFeedForward],
    )
