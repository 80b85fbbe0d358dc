"""Intervals of latency ratios over sittings: two-stage bootstrap, and how two of them combine.

Per turn the median of its calls, per sitting the mean of the middle half of its turns' log(ours /
theirs), then the mean over sittings. The luck of a process is bounded, so the mean of it needs
about a third fewer sittings than the median of all samples together, as `attnc bench` takes it;
what disturbs single calls or turns is gone before, with a third fewer turns than a median needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Turns = NDArray[np.float64]  # [rounds, burst] milliseconds of one sitting
RESAMPLES = 2000
POOL = 200  # resampled medians per sitting, from which the outer stage draws
TAIL = 2.5  # percent on either side: 95 % intervals
_Z = 1.959964


@dataclass(frozen=True)
class Interval:
    """An estimate and the 95 % interval around it."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """The interval's width relative to the estimate."""
        return (self.high - self.low) / self.value


@dataclass
class Series:
    """The turns of one runner, one array per sitting."""

    sittings: list[Turns] = field(default_factory=list)

    def add(self, turns: Turns) -> None:
        """One sitting more."""
        self.sittings.append(np.asarray(turns, np.float64))

    def samples(self) -> NDArray[np.float64]:
        """All samples in the order taken."""
        return np.concatenate([turns.ravel() for turns in self.sittings])


def ratio(ours: Series, theirs: Series) -> Interval:
    """ours / theirs, from the same sittings; what disturbed a turn disturbed both."""
    logs = [
        np.log(np.median(a, axis=1)) - np.log(np.median(b, axis=1))
        for a, b in zip(ours.sittings, theirs.sittings, strict=True)
    ]
    return _of_logs(logs)


def typical(ours: Series) -> Interval:
    """The typical latency in ms: the mean (of logarithms) of the sittings' middles."""
    return _of_logs([np.log(np.median(turns, axis=1)) for turns in ours.sittings])


def tail_latency(ours: Series, percent: float = 99) -> Interval:
    """A percentile of all samples; whole sittings are resampled, then turns within them."""
    rng = np.random.default_rng(0)
    turns = np.concatenate(ours.sittings)
    lengths = np.array([len(sitting) for sitting in ours.sittings])
    begins = np.cumsum(lengths) - lengths
    which = rng.integers(len(lengths), size=(RESAMPLES // 4, len(lengths)))
    places = rng.random((*which.shape, lengths.max())) * lengths[which][..., None]
    drawn = turns[begins[which][..., None] + places.astype(np.int64)]
    found = np.percentile(drawn.reshape(len(drawn), -1), percent, axis=1)
    low, high = np.percentile(found, [TAIL, 100 - TAIL])
    return Interval(float(np.percentile(ours.samples(), percent)), float(low), float(high))


def compared(now: Interval, before: Interval) -> Interval:
    """now / before of two independent measurements, each with its own uncertainty.

    The distances to the bounds add in squares (the "method of variance estimates recovery").
    """
    value = np.log(now.value / before.value)
    below = np.hypot(np.log(now.value / now.low), np.log(before.high / before.value))
    above = np.hypot(np.log(now.high / now.value), np.log(before.value / before.low))
    return Interval(*(float(np.exp(x)) for x in (value, value - below, value + above)))


def _of_logs(sittings: Sequence[NDArray[np.float64]]) -> Interval:
    """The mean over sittings of their middles, and its interval, back from logarithms."""
    rng = np.random.default_rng(0)
    count = len(sittings)
    pool = np.stack([_resampled(turns, rng) for turns in sittings])
    which = rng.integers(count, size=(RESAMPLES, count))
    drawn = pool[which, rng.integers(POOL, size=(RESAMPLES, count))].mean(axis=1)
    value = float(np.mean([_middle(turns) for turns in sittings]))
    low, high = np.percentile(drawn, [TAIL, 100 - TAIL])
    wider = _widening(count)
    below, above = wider * max(0.0, value - low), wider * max(0.0, high - value)
    return Interval(*(float(np.exp(x)) for x in (value, value - below, value + above)))


def _resampled(turns: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Middles of resampled turns of one sitting."""
    return _middle(turns[rng.integers(len(turns), size=(POOL, len(turns)))])


def _middle(turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the middle half of the last axis; of three the median, of two the mean."""
    cut = (turns.shape[-1] + 1) // 4
    return np.asarray(np.sort(turns, axis=-1)[..., cut : turns.shape[-1] - cut].mean(axis=-1))


def _widening(count: int) -> float:
    """What a bootstrap over few sittings lacks: it takes their spread for the true one.

    Student's quantile over the normal one, by its series, and the spread's bias.
    """
    if count < 2:
        return 1.0
    free = count - 1
    z = _Z
    student = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return float(student / z * np.sqrt(count / free))
