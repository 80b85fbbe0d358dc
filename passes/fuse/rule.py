"""What the rewrite rules of this folder share: their base class and readings of matched values."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult, OrValue, RewriteRuleClassBase

from attnc.compiler.ops.base import DOMAIN, DOMAIN_VERSION
from attnc.passes.activations import Clamp, clamp_of
from attnc.passes.canonical.conv import Conv, conv_of

#: Keyword arguments that make a node of our domain in `rewrite`.
ATTNC: dict[str, Any] = {"_domain": DOMAIN, "_version": DOMAIN_VERSION}


class Refused(Exception):
    """Raised inside `check`; becomes the reason of a near-miss."""


class Rule(RewriteRuleClassBase):
    """pattern / conditions / rewrite; `conditions` raises `Refused` with the reason."""

    def check(self, op: Any, *args: Any, **bindings: Any) -> Any:
        """Called by the matcher after the pattern matched; `op` is the context of the match."""
        try:
            self.conditions(**bindings)
        except Refused as refusal:
            return MatchResult().fail(str(refusal), op.root)
        return MatchResult()

    def conditions(self, **bindings: Any) -> None:
        """Raise `Refused` where the rewrite would be wrong."""
        raise NotImplementedError


def conv(value: ir.Value, what: str) -> Conv:
    """The canonical Conv that makes `value`."""
    found = conv_of(value.producer())
    if found is None:
        raise Refused(f"the weights of {what} are not constants, or it is not two-dimensional")
    if not found.single:
        raise Refused(f"{what} computes in {found.w.dtype}, not in float32")
    return found


def pointwise(value: ir.Value, what: str) -> Conv:
    """The 1x1 Conv that makes `value`."""
    found = conv(value, what)
    if not found.pointwise:
        raise Refused(f"{what} is not a 1x1 convolution of stride 1 in one group")
    return found


def activation(op: Any, x: Any, out: str) -> Any:
    """Pattern: Relu or Clip of x; the clamp is read from the value bound to `out`."""
    clip = op.Clip(x, _allow_other_inputs=True, _allow_other_attributes=True)
    return OrValue([op.Relu(x), clip], name=out)


def clamp(value: ir.Value) -> Clamp:
    """The clamp that makes `value`."""
    found = clamp_of(value.producer())
    if found is None:
        raise Refused("the bounds of the activation are not constants")
    return found
