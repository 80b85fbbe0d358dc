"""Folds the residual around a depthwise convolution into its centre tap.

x -+-> Conv(depthwise, w) -+-> Add        =>        Conv(depthwise, w + 1 in the centre)
   +-----------------------+
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from attnc.passes.canonical.conv import Conv
from attnc.passes.fuse.rule import Refused, Rule, conv
from attnc.passes.rules import RulePass


class _ResidualDepthwise(Rule):
    """x + depthwise(x)."""

    def pattern(self, op: Any, x: Any, w: Any, b: Any) -> Any:
        return op.Add(x, op.Conv(x, w, b, _outputs=["y"]))

    def conditions(self, **bindings: Any) -> None:
        _check(conv(bindings["y"], "the convolution"))

    def rewrite(self, op: Any, x: Any, w: Any, b: Any, y: Any) -> Any:
        found = conv(y, "the convolution")
        weight = found.weight().copy()
        height, width = weight.shape[2:]
        weight[:, 0, height // 2, width // 2] += 1
        held = op.initializer(ir.tensor(weight), name=f"{w.name}_residual")
        return op.Conv(x, held, b, **found.geometry())


def _check(found: Conv) -> None:
    geometry: dict[str, Any] = found.geometry()
    kernel, dilations = geometry["kernel_shape"], geometry["dilations"]
    if not found.depthwise:
        raise Refused("the convolution is not depthwise")
    if geometry["strides"] != [1, 1]:
        raise Refused(f"the depthwise convolution has strides {geometry['strides']}")
    if any(size % 2 == 0 for size in kernel):
        raise Refused(f"the kernel {kernel} has no centre")
    same = [(k - 1) * d // 2 for k, d in zip(kernel, dilations, strict=True)]
    if geometry["pads"] != same * 2:
        raise Refused(f"the padding {geometry['pads']} does not keep the size")


def fold_residual_depthwise() -> RulePass:
    """The pass."""
    return RulePass(
        "fold_residual_depthwise",
        "the add is one more tap of the filter, and a whole pass over memory less",
        [_ResidualDepthwise],
    )
