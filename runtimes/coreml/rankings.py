"""What a program chooses by rank: whether float16 chose otherwise than float32, and how nearly.

Where two scores are closer than rounding, float16 may keep the one token and drop the other: the
logits then differ by what one token is worth. Such a swap is told apart from a wrong program by
the scores at the cut. A ranking of tokens that an earlier one chose is followed back to these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attnc.runtimes.coreml.program import Operation
from attnc.runtimes.coreml.types import Array
from attnc.runtimes.proof.tokens import Tokens

#: Scores that differ by less than this share of the cut may swap their ranks in float16.
NEAR = 2e-2


@dataclass
class Rankings:
    """Watches an evaluation and keeps every topk's values and indices, by operation."""

    found: dict[str, tuple[Array, Array]] = field(default_factory=dict)

    def __call__(self, operation: Operation, results: tuple[Array, ...]) -> None:
        """See `Evaluator.run`."""
        if operation.type == "topk":
            self.found[operation.name] = (results[0].astype(np.float64), results[1])


@dataclass(frozen=True)
class Swap:
    """The first ranking that two evaluations do not share: how many of how many were chosen
    otherwise, and the widest gap to the cut among these, as a share of it."""

    operation: str
    count: int
    chosen: int
    gap: float

    @property
    def near(self) -> bool:
        """Whether rounding explains it."""
        return self.gap <= NEAR


def first_swap(one: Rankings, other: Rankings) -> Swap | None:
    """Where two evaluations of one model choose otherwise; None where they agree.

    Later rankings work on other tokens by then, and are not compared.
    """
    known_one, known_other = Tokens(), Tokens()
    for name, mine in one.found.items():
        theirs = other.found.get(name)
        if theirs is None or theirs[1].shape != mine[1].shape:
            continue
        pairs = list(zip(_rows(known_one, mine), _rows(known_other, theirs), strict=True))
        gaps = [gap for a, b in pairs for gap in (*_gaps(a, b), *_gaps(b, a))]
        if gaps:
            chosen = int(mine[1].size)
            return Swap(name, (len(gaps) + 1) // 2, chosen, max(gaps))
    return None


def _rows(known: Tokens, ranking: tuple[Array, Array]) -> list[tuple[Array, Array]]:
    """Values and tokens of each row that was ranked; afterwards these are the tokens known."""
    values, places = (part.reshape(-1, part.shape[-1]) for part in ranking)
    if not known.can_hold(places):
        known.forget()
    return list(zip(values, known.keep(places), strict=True))


def _gaps(mine: Sequence[Any], theirs: Sequence[Any]) -> list[float]:
    """How far what only I chose lies over my own cut."""
    values, indices = mine
    alone = ~np.isin(indices, theirs[1])
    cut = float(values.min())
    scale = abs(cut) or 1.0
    return [float(value - cut) / scale for value in values[alone]]
