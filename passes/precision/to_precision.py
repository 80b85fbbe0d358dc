"""Turns a float32 graph into one of float16 or bfloat16, as strongly typed runtimes want it.

Conv -> ReduceL2 -> Max(1e-12) -> Div -> MatMul
  =>   Cast -> Conv (low) -> Cast -> ReduceL2 -> Max -> Div -> Cast -> MatMul (low) -> Cast
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import onnx_ir as ir

from attnc.passes.precision.bridges import keep_bridges, keep_impossible, keep_mixed
from attnc.passes.precision.cast_borders import find_borders, insert_cast
from attnc.passes.precision.convert import convert_initializers, convert_nodes
from attnc.passes.precision.known import require_types
from attnc.passes.precision.low import FLOAT, LOWS, is_float
from attnc.passes.precision.norms import keep_norms
from attnc.passes.precision.overflow import (
    keep_large_constants,
    keep_ranges,
    keep_small_constants,
)
from attnc.passes.precision.plan import Plan, PrecisionResult
from attnc.passes.precision.ranking import keep_rankings

RULES: tuple[Callable[[Plan], None], ...] = (
    keep_mixed,  # decisions of the author
    keep_large_constants,  # wrong numbers, before lost digits
    keep_ranges,  # likewise
    keep_rankings,
    keep_norms,
    keep_impossible,  # behind those whose reason says more
    keep_small_constants,  # epsilons that are no part of a norm
    keep_bridges,  # last: it looks at what the others left
)


class ToPrecision:
    """Float32 becomes `dtype` wherever that is safe; every node's float inputs share one type.

    `ranges` are recorded magnitudes max |x| by value name; without one a value is taken to be
    small. With `keep_io` the inputs and outputs of the graph stay float32. Wants constants to be
    initializers, and no function bodies of ours attached: these are of float32.
    """

    name = "to_precision"
    reason = "strongly typed runtimes take the float type of each operator from the graph"

    def __init__(
        self,
        dtype: Literal["fp16", "bf16"],
        ranges: Mapping[str, float] | None = None,
        keep_io: bool = True,
    ) -> None:
        self.low, self.ranges, self.keep_io = LOWS[dtype], dict(ranges or {}), keep_io

    def run(self, model: ir.Model) -> PrecisionResult:
        """Rewrite `model` in place; the regions that stay float32, with their reasons.

        Raises UnsupportedError if the type of a value cannot be found out.
        """
        require_types(model)
        outside = FLOAT if self.keep_io else self.low.dtype
        plan = Plan(model.graph, self.low, self.ranges, outside)
        for rule in RULES:
            rule(plan)
        regions = plan.regions()  # before the Casts stand between their nodes
        return PrecisionResult.of(self._rewrite(plan), regions)

    def _rewrite(self, plan: Plan) -> int:
        borders = find_borders(plan)
        changed = convert_nodes(plan)  # before constants: it counts nodes by what they read
        convert_initializers(plan)
        for value in plan.graph.inputs:
            if is_float(value):
                value.type = ir.TensorType(plan.outside)
        for border in borders:
            insert_cast(plan.graph, border)
        return changed
