"""How often a bundle is right on labelled pictures, beside its source: what users lose, with doubt.

Both see the same pictures, so the drop is a difference of paired shares; its interval is Newcombe's
(1998, method 10), which stays honest where few pictures, or none, tell the two apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.runtimes.checks import Check

CONFIDENCE, NORMAL_QUANTILE = 0.95, 1.959963984540054
TOP = 5


@dataclass(frozen=True)
class Share:
    """Shares of pictures whose class came first, and among the first five."""

    top1: float
    top5: float


@dataclass(frozen=True)
class Answers:
    """What one model said: `first` [N] its classes (-1: the output was not finite), and per
    picture whether the right class came first and among the first five."""

    first: NDArray[np.int64]
    top1: NDArray[np.bool_]
    top5: NDArray[np.bool_]

    @property
    def share(self) -> Share:
        """Means over the pictures."""
        return Share(float(self.top1.mean()), float(self.top5.mean()))


@dataclass(frozen=True)
class Accuracy:
    """Source and bundle on one dataset; without a source only the bundle's own figures.

    `mode` says what ran the bundle, `note` how classes were matched where that was a guess.
    """

    dataset: str
    pictures: int
    mode: str
    precision: str
    bundle: Share
    source: Share | None = None
    agreement: float | None = None
    drop: float | None = None
    interval: tuple[float, float] | None = None
    note: str = ""
    limit: float = 0.0  # the largest drop that the precision may cost

    def check(self) -> Check:
        """Failed where the drop is above the limit beyond doubt."""
        name = f"accuracy/{self.dataset}"
        if self.drop is None or self.interval is None:
            reason = "the source model is not here to compare"
            return Check(name, "not-verified", None, self.limit, reason)
        low, high = self.interval
        reason = (
            f"drop of top-1 over {self.pictures} pictures, {CONFIDENCE:.0%} interval "
            f"{low:+.4f} to {high:+.4f}"
        )
        return Check(
            name, "failed" if low > self.limit else "verified", self.drop, self.limit, reason
        )

    def as_json(self) -> dict[str, Any]:
        """The entry "accuracy" of the document of `attnc verify`."""
        document = {key: value for key, value in vars(self).items() if key != "note" or value}
        shares = {
            key: None if share is None else vars(share)
            for key, share in (("bundle", self.bundle), ("source", self.source))
        }
        interval = None if self.interval is None else list(self.interval)
        facts = {"interval": interval, "confidence": CONFIDENCE, "limit": self.limit}
        return document | shares | facts


def answers(logits: Iterable[NDArray[Any]], labels: NDArray[np.int64]) -> Answers:
    """What was said, from the logits [1 or more, classes] of all pictures in order.

    Of equal logits the class with the lower index comes first.
    """
    rows = np.concatenate([np.asarray(part, np.float64) for part in logits])
    finite = np.isfinite(rows).all(axis=1)
    order = np.argsort(-rows, axis=1, kind="stable")[:, :TOP]
    right = (order == labels[:, None]) & finite[:, None]
    first = np.where(finite, order[:, 0], -1).astype(np.int64)
    return Answers(first, right[:, 0], right.any(axis=1))


def compared(
    dataset: str,
    mode: str,
    precision: str,
    bundle: Answers,
    source: Answers | None,
    note: str = "",
    limit: float = 0.0,
) -> Accuracy:
    """The figures of both; `source` None where it is not to be had."""
    count = len(bundle.first)
    own = Accuracy(dataset, count, mode, precision, bundle.share, note=note, limit=limit)
    if source is None:
        return own
    return Accuracy(
        **{
            **vars(own),
            "source": source.share,
            "agreement": float((bundle.first == source.first).mean()),
            "drop": source.share.top1 - bundle.share.top1,
            "interval": drop_interval(source.top1, bundle.top1),
        }
    )


def drop_interval(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, float]:
    """The 95 % interval of mean(before) - mean(after), for pairs of right and wrong."""
    count = len(before)
    first, second = float(np.mean(before)), float(np.mean(after))
    (low1, high1), (low2, high2) = wilson_interval(first, count), wilson_interval(second, count)
    tied, drop = _correlation(before, after), first - second
    down = _side(first - low1, high2 - second, tied)
    up = _side(high1 - first, second - low2, tied)
    return max(-1.0, drop - down), min(1.0, drop + up)


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` independent pictures."""
    z = NORMAL_QUANTILE**2
    middle = share + z / (2 * count)
    spread = NORMAL_QUANTILE * math.sqrt(share * (1 - share) / count + z / (4 * count**2))
    return (middle - spread) / (1 + z / count), (middle + spread) / (1 + z / count)


def _side(one: float, other: float, tied: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * tied * one * other + other**2))


def _correlation(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> float:
    """Of the pairs, made smaller by half a picture where it is positive, as method 10 has it."""
    both, neither = int((before & after).sum()), int((~before & ~after).sum())
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    margins = (both + lost) * (won + neither) * (both + won) * (lost + neither)
    if not margins:
        return 0.0
    excess = float(both * neither - lost * won)
    if excess > 0:
        excess = max(0.0, excess - len(before) / 2)
    return excess / math.sqrt(margins)
