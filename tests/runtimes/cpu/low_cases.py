"""Cases of the linear layers with weights in fewer bits, and how close a set's kernel must come.

Where halves are widened, and for bytes, sums are exact or in float32. Half-precision arithmetic
rounds each element of a row to 11 bits and sums 64 products so.
"""

from __future__ import annotations

import numpy as np
from kernel_cases import Case

from attnc.compiler.ops.base import Example, Operator
from attnc.compiler.ops.linear_low import LOW

EXACT, HALVES = 1e-5, 4e-3


def low_cases(rng: np.random.Generator) -> dict[str, Case]:
    """One case per example of each operator."""
    return {
        f"{operator.name}-{example.label}": _case(operator, example)
        for operator in LOW
        for example in operator.examples(rng)
    }


def limit(case: Case, isa: str) -> float:
    """The largest error that the arithmetic of this set explains."""
    return HALVES if "+fp16" in isa and case.op.endswith("Half") else EXACT


def _case(operator: Operator, example: Example) -> Case:
    x, *rest = example.inputs
    expected = operator.reference(*example.inputs, **example.attributes)
    return Case(operator.name, x, rest[:3], dict(example.attributes), expected, rest[3:])
