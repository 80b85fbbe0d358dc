"""Fuses the head: mean over the map, then a linear layer.

x -> GlobalAveragePool -> Flatten -> Gemm        =>        PoolLinear(x, w, b)
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from attnc.passes.canonical.linear import linear_of
from attnc.passes.fuse.rule import ATTNC, Refused, Rule
from attnc.passes.rules import RulePass


class _PoolLinear(Rule):
    """linear(mean(x))."""

    def pattern(self, op: Any, x: Any, w: Any, b: Any) -> Any:
        return op.Gemm(op.Flatten(op.GlobalAveragePool(x)), w, b, _outputs=["y"])

    def conditions(self, **bindings: Any) -> None:
        if linear_of(bindings["y"].producer()) is None:
            raise Refused("the weights of the linear layer are not constants")
        x = bindings["x"]
        if bindings["w"].dtype != ir.DataType.FLOAT:
            raise Refused(f"it computes in {bindings['w'].dtype}, not in float32")
        if x.shape is None or x.shape.rank() != 4:
            raise Refused("the pooled value is not [B,C,H,W]")

    def rewrite(self, op: Any, x: Any, w: Any, b: Any, y: Any) -> Any:
        return op.PoolLinear(x, w, b, **ATTNC)


def fuse_pool_linear() -> RulePass:
    """The pass."""
    return RulePass(
        "fuse_pool_linear",
        "the head reads the last map in whatever layout it has",
        [_PoolLinear],
        commute=False,
    )
