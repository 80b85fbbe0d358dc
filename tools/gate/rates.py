"""Rates of events and how far they are known."""

from __future__ import annotations

import math

_Z = 1.959964


def wilson(count: int, runs: int) -> tuple[float, float]:
    """The 95 % interval (Wilson's) of a rate of which `count` in `runs` were seen."""
    share, square = count / runs, _Z**2 / runs
    middle = share + square / 2
    reach = _Z * math.sqrt(share * (1 - share) / runs + square / (4 * runs))
    low, high = (middle - reach) / (1 + square), (middle + reach) / (1 + square)
    return max(0.0, low), min(1.0, high)
