"""Ratios of latencies and their intervals, on samples drawn with known ratios."""

from __future__ import annotations

import numpy as np
import pytest

from attnc.runtimes.statistics import percentile, ratio_interval, ratio_of_medians


def test_ratio_is_ours_over_theirs() -> None:
    assert ratio_of_medians([1.0, 2.0, 3.0], [4.0, 4.0, 100.0]) == 0.5
    assert percentile([1.0, 2.0, 3.0, 4.0, 5.0], 90) == pytest.approx(4.6)


def test_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(60):
        theirs = 10 + rng.gamma(2.0, 0.5, 120)
        ours = 0.7 * (10 + rng.gamma(2.0, 0.5, 120))
        low, high = ratio_interval(ours.tolist(), theirs.tolist(), block=3, seed=seed)
        assert low < high
        hits += low <= 0.7 <= high
    assert hits >= 50


def test_disturbance_shared_by_a_turn_does_not_widen_the_interval() -> None:
    slow = np.repeat(np.where(np.arange(40) % 4, 1.0, 3.0), 3)
    low, high = ratio_interval((0.5 * slow).tolist(), slow.tolist(), block=3)
    assert (low, high) == (0.5, 0.5)


def test_luck_of_a_process_widens_the_interval() -> None:
    ours = np.repeat([1.0, 1.1, 1.2], 100).tolist()
    theirs = [2.0] * 300
    assert ratio_interval(ours, theirs, block=5, sittings=3) == (0.5, 0.6)
    assert ratio_interval(ours, theirs, block=5) == pytest.approx((0.55, 0.55))


def test_series_must_be_whole_turns() -> None:
    with pytest.raises(ValueError, match="whole turns"):
        ratio_interval([1.0, 2.0], [1.0], block=1)
    with pytest.raises(ValueError, match="whole turns"):
        ratio_interval([1.0, 2.0], [1.0, 2.0], block=3)
    with pytest.raises(ValueError, match="whole turns"):
        ratio_interval([1.0] * 6, [1.0] * 6, block=3, sittings=4)
