"""How far a bundle may be from its source: closely, unless the model chooses.

A model that keeps the best of many scores is discontinuous: rounding swaps two near-ties, a row
changes, and the difference grows from block to block. Its source in float32 then differs from
itself in float64, and from itself on an input that is changed by as much as rounding. These
differences, measured here, are the yardstick for the bundle's logits; what chooses is checked
operator by operator (see `choices`). Where all keys are kept, nothing is chosen: such a model must
be as close as the authors' code is to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.ops import registry
from attnc.compiler.ops.base import DOMAIN
from attnc.runtimes.compare import RELATIVE_LIMIT
from attnc.runtimes.limits import limits_of

Array = NDArray[np.float32]

#: Times the source's own difference, of the two recorded inputs; times the largest movement, of all
#: inputs and so seldom exceeded; and at least this share of the logits' deviation.
OWN_DIFFERENCES, MOVEMENTS, LEAST_SHARE = 5.0, 2.0, 2e-2
#: Of logits whose deviation is about 1, where every key is kept: the authors' code in float32 is
#: within 4e-6 of itself in float64.
KEEPS_ALL_LIMIT = 5e-5

#: Relative change of an input, as large as the differences between two float32 implementations
#: whose choices agree, and how often each input is changed.
SHAKE, SHAKES = 1e-6, 2
#: The same for fewer bits: by as much as an element of a row is rounded.
ROUNDING = {"fp16": 2.0**-11, "int8": 0.5 / 127}


@dataclass(frozen=True)
class Tolerance:
    """`own` is max |float32 - float64| of a discontinuous source; None if it was not measured.

    `moved` is how far its logits move when an input is changed as little as by rounding;
    `keeps_all`: operators that could choose keep everything; `least`: what the precision may take.
    """

    discontinuous: bool = False
    own: float | None = None
    moved: float = 0.0
    keeps_all: bool = False
    least: float = RELATIVE_LIMIT

    def limit(self, expected: NDArray[np.floating]) -> float:
        """The largest max |a-b| / max |b| against this expected output."""
        scale = float(np.abs(expected).max()) or 1.0
        if self.keeps_all:
            allowed = KEEPS_ALL_LIMIT * max(1.0, float(expected.std()))
            return (
                min(RELATIVE_LIMIT, allowed / scale) if self.least == RELATIVE_LIMIT else self.least
            )
        if not self.discontinuous:
            return self.least
        allowed = max(
            OWN_DIFFERENCES * (self.own or 0.0),
            MOVEMENTS * self.moved,
            LEAST_SHARE * float(expected.std()),
        )
        return max(self.least, allowed / scale)

    @property
    def note(self) -> str:
        """Why the limit is what it is, for the report; empty for continuous models."""
        if self.keeps_all:
            return "the model keeps every key, so nothing can change its choice"
        if not self.discontinuous:
            return ""
        own = "was not measured" if self.own is None else f"is {self.own:.1e}"
        return (
            "the model keeps the best of many scores, so rounding can change its choice; "
            f"the source's own difference between float32 and float64 {own}; a change as small "
            f"as rounding moves its logits by {self.moved:.1e}"
        )


def is_discontinuous(bundle: Bundle) -> bool:
    """Whether an operator of the bundle hides what is not chosen."""
    recorded = bundle.manifest.discontinuous
    return _may_choose(bundle) if recorded is None else recorded


def _may_choose(bundle: Bundle) -> bool:
    """Whether it has an operator that hides something, unless it keeps all."""
    held = (name.removeprefix(f"{DOMAIN}::") for name in bundle.manifest.operators)
    names = {*held, *(verdict.operator for verdict in bundle.manifest.verdicts)}
    known = {operator.name: operator for operator in registry.OPERATORS}
    return any(name in known and known[name].discontinuous is not None for name in names)


def tolerance_of(
    bundle: Bundle,
    reference: Callable[[Array], Array] | None,
    recorded: Iterable[tuple[Array, NDArray[np.floating]]],
    others: Iterable[Array] = (),
) -> Tolerance:
    """The rule for this bundle; `recorded` are inputs with the source's outputs in float64.

    `others` are inputs without.
    """
    least = _least(bundle)
    if not is_discontinuous(bundle):
        return Tolerance(keeps_all=_may_choose(bundle), least=least)
    if reference is None:
        return Tolerance(discontinuous=True, least=least)
    recorded = list(recorded)
    own = [float(np.abs(reference(array) - exact).max()) for array, exact in recorded]
    moved = [
        found
        for array in (*(array for array, _ in recorded), *others)
        for found in _movements(reference, array, _shake(bundle))
    ]
    return Tolerance(
        discontinuous=True,
        own=max(own, default=None),
        moved=max(moved, default=0.0),
        least=least,
    )


def _least(bundle: Bundle) -> float:
    """Core ML's half precisions are judged by cosine; here they count as the float32 that they
    were lowered from."""
    target, precision = bundle.manifest.target, bundle.manifest.precision
    return limits_of(bundle, "fp32" if target == "coreml" else precision).relative


def _shake(bundle: Bundle) -> float:
    """What rounding is in this bundle; TensorRT's and Core ML's have yardsticks of their own."""
    manifest = bundle.manifest
    return (
        SHAKE
        if manifest.target in ("tensorrt", "coreml")
        else ROUNDING.get(manifest.precision, SHAKE)
    )


def _movements(
    reference: Callable[[Array], Array], array: Array, shake: float = SHAKE
) -> list[float]:
    """How far the output moves when the input is changed as little as by rounding."""
    expected, rng = reference(array), np.random.default_rng(0)
    found = []
    for _ in range(SHAKES):
        noise = rng.uniform(-shake, shake, array.shape).astype(array.dtype)
        found.append(float(np.abs(reference(array * (1 + noise)) - expected).max()))
    return found
