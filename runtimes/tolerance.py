"""How far a bundle may be from its source: closely, unless the model chooses.

A model that keeps the best of many scores is discontinuous: rounding swaps two near-ties, a row
changes, and the difference grows from block to block. Its source in float32 then differs from
itself in float64, and that difference, measured here, is the yardstick for the bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.ops import registry
from attnc.runtimes.compare import RELATIVE_LIMIT

Array = NDArray[np.float32]

#: Times the source's own difference, and at least this share of the logits' deviation.
OWN_DIFFERENCES, LEAST_SHARE = 5.0, 2e-2


@dataclass(frozen=True)
class Tolerance:
    """`own` is max |float32 - float64| of a discontinuous source; None if it was not measured."""

    discontinuous: bool = False
    own: float | None = None

    def limit(self, expected: NDArray[np.floating]) -> float:
        """The largest max |a-b| / max |b| against this expected output."""
        if not self.discontinuous:
            return RELATIVE_LIMIT
        scale = float(np.abs(expected).max()) or 1.0
        allowed = max(OWN_DIFFERENCES * (self.own or 0.0), LEAST_SHARE * float(expected.std()))
        return max(RELATIVE_LIMIT, allowed / scale)

    @property
    def note(self) -> str:
        """Why the limit is what it is, for the report; empty for continuous models."""
        if not self.discontinuous:
            return ""
        own = "was not measured" if self.own is None else f"is {self.own:.1e}"
        return (
            "the model keeps the best of many scores, so rounding can change its choice; "
            f"the source's own difference between float32 and float64 {own}"
        )


def is_discontinuous(bundle: Bundle) -> bool:
    """Whether an operator of the bundle hides what is not chosen."""
    names = {*bundle.manifest.operators, *(v.operator for v in bundle.manifest.verdicts)}
    known = {operator.name: operator for operator in registry.OPERATORS}
    return any(name in known and known[name].discontinuous for name in names)


def tolerance_of(
    bundle: Bundle,
    reference: Callable[[Array], Array] | None,
    recorded: Iterable[tuple[Array, NDArray[np.floating]]],
) -> Tolerance:
    """The rule for this bundle; `recorded` are inputs with the source's outputs in float64."""
    if not is_discontinuous(bundle):
        return Tolerance()
    if reference is None:
        return Tolerance(discontinuous=True)
    own = [float(np.abs(reference(array) - exact).max()) for array, exact in recorded]
    return Tolerance(discontinuous=True, own=max(own, default=None))
