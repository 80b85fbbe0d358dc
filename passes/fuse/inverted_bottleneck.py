"""Fuses the downsampling block: expand, depthwise, squeeze-and-excite, project.

x -> Conv1x1 -> ReLU -> Conv(depthwise) -> ReLU -> SqueezeExcite -> Conv1x1
=>  InvertedBottleneck(x, w1, b1, wd, bd, s1, c1, s2, c2, w3, b3)
"""

from __future__ import annotations

from typing import Any

from attnc.compiler.ops.base import DOMAIN
from attnc.passes.fuse.rule import ATTNC, Refused, Rule, activation, clamp, conv, pointwise
from attnc.passes.rules import RulePass


class _InvertedBottleneck(Rule):
    """conv3(SE(act(depthwise(act(conv1(x))))))."""

    def pattern(
        self,
        op: Any,
        x: Any,
        w1: Any,
        b1: Any,
        wd: Any,
        bd: Any,
        s1: Any,
        c1: Any,
        s2: Any,
        c2: Any,
        w3: Any,
        b3: Any,
    ) -> Any:
        expanded = op.Conv(x, w1, b1, _outputs=["first"])
        middle = op.Conv(activation(op, expanded, "act1"), wd, bd, _outputs=["depthwise"])
        hidden = activation(op, middle, "act2")
        gated = op.SqueezeExcite(hidden, s1, c1, s2, c2, _domain=DOMAIN)
        return op.Conv(gated, w3, b3, _outputs=["last"])

    def conditions(self, **bindings: Any) -> None:
        pointwise(bindings["first"], "the first layer")
        pointwise(bindings["last"], "the last layer")
        middle = conv(bindings["depthwise"], "the middle layer")
        if not middle.depthwise:
            raise Refused("the middle layer is not depthwise")
        if middle.geometry()["dilations"] != [1, 1]:
            raise Refused("the middle layer is dilated")
        if clamp(bindings["act1"]) != clamp(bindings["act2"]):
            raise Refused("the two activations differ")

    def rewrite(self, op: Any, x: Any, **bindings: Any) -> Any:
        names = ("w1", "b1", "wd", "bd", "s1", "c1", "s2", "c2", "w3", "b3")
        geometry: dict[str, Any] = conv(bindings["depthwise"], "the middle layer").geometry()
        window = {name: geometry[name] for name in ("kernel_shape", "strides", "pads", "group")}
        bounds = clamp(bindings["act1"]).attributes()
        weights = [bindings[name] for name in names]
        return op.InvertedBottleneck(x, *weights, **window, **bounds, **ATTNC)


def fuse_inverted_bottleneck() -> RulePass:
    """The pass."""
    return RulePass(
        "fuse_inverted_bottleneck",
        "the expanded map is four times the input and is read three times between the layers",
        [_InvertedBottleneck],
        commute=False,
    )
