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
    ours: Sequence[float], theirs: Sequence[float], *, block: int = 1, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval (95 %) of the ratio of medians.

    The two series were taken in turn, so whole turns of `block` samples are resampled and both
    series with the same indices: what disturbed one turn disturbed both.
    Raises ValueError if the series differ in length or are no multiple of `block`.
    """
    a, b = np.asarray(ours), np.asarray(theirs)
    if a.shape != b.shape or a.size == 0 or a.size % block:
        raise ValueError(f"need two series of whole turns, got {a.size} and {b.size}")
    turns_a, turns_b = a.reshape(-1, block), b.reshape(-1, block)
    picks = np.random.default_rng(seed).integers(len(turns_a), size=(RESAMPLES, len(turns_a)))
    medians_a = np.median(turns_a[picks].reshape(RESAMPLES, -1), axis=1)
    medians_b = np.median(turns_b[picks].reshape(RESAMPLES, -1), axis=1)
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(medians_a / medians_b, [tail, 100 - tail])
    return float(low), float(high)
