"""Summaries of latency samples: percentiles, and an interval for the ratio of two medians."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95


def percentile(samples: Sequence[float], percent: float) -> float:
    """The given percentile (0..100) by linear interpolation."""
    return float(np.percentile(np.asarray(samples), percent))


def ratio_of_medians(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """median(ours) / median(theirs)."""
    return float(np.median(ours) / np.median(theirs))


def ratio_interval(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    block: int = 1,
    sittings: int = 1,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval (95 %) of the ratio of medians, in two stages.

    Whole sittings are resampled, because samples of one process share its luck with memory; then
    whole turns of `block` samples within each, because neighbours in time are alike. Both series
    get the same picks: what disturbed a round disturbed both. Few sittings tell the spread between
    processes only roughly; one sitting tells nothing of it.
    Raises ValueError if the series differ in length or do not divide into sittings of whole turns.
    """
    a, b = np.asarray(ours), np.asarray(theirs)
    if a.shape != b.shape or a.size == 0 or a.size % (block * sittings):
        raise ValueError(
            f"need two series of {sittings} sittings of whole turns, got {a.size} and {b.size}"
        )
    turns_a, turns_b = a.reshape(sittings, -1, block), b.reshape(sittings, -1, block)
    shape = (RESAMPLES, sittings, turns_a.shape[1])
    rng = np.random.default_rng(seed)
    picks = (
        rng.integers(sittings, size=(RESAMPLES, sittings, 1)),
        rng.integers(shape[2], size=shape),
    )
    medians_a = np.median(turns_a[picks].reshape(RESAMPLES, -1), axis=1)
    medians_b = np.median(turns_b[picks].reshape(RESAMPLES, -1), axis=1)
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(medians_a / medians_b, [tail, 100 - tail])
    return float(low), float(high)
