"""Intervals on samples whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from attnc.tools.gate.intervals import (
    Interval,
    Series,
    compared,
    ratio,
    tail_latency,
    typical,
)
from attnc.tools.gate.rates import wilson


def series(rng: np.random.Generator, ms: float, sittings: int, luck: float) -> Series:
    found = Series()
    for _ in range(sittings):
        lucky = ms * (1 + rng.uniform(0, luck))
        found.add(lucky * np.exp(rng.normal(0, 0.01, (5, 5))))
    return found


def test_a_ratio_without_noise_is_exact() -> None:
    ours, theirs = Series(), Series()
    for clock in (1.0, 1.3, 0.8):
        ours.add(np.full((2, 3), 3.0 * clock))
        theirs.add(np.full((2, 3), 2.0 * clock))
    found = ratio(ours, theirs)
    assert (found.value, found.low, found.high) == pytest.approx((1.5, 1.5, 1.5))


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(120):
        found = ratio(series(rng, 2.2, 8, 0.15), series(rng, 2.0, 8, 0.15))
        covered += found.low <= 1.1 <= found.high
    assert 0.88 <= covered / 120 <= 1.0


def test_more_sittings_narrow_the_interval() -> None:
    rng = np.random.default_rng(4)
    few = typical(series(rng, 2.0, 6, 0.15))
    many = typical(series(rng, 2.0, 40, 0.15))
    assert many.width < few.width / 1.5
    assert many.value == pytest.approx(2.0 * 1.075, rel=0.03)


def test_a_slow_sitting_weighs_no_more_than_another() -> None:
    calm, hit = Series(), Series()
    for number in range(8):
        calm.add(np.full((3, 5), 1.0))
        turns = np.full((3, 5), 1.0)
        turns[0, :] = 9.0 if number == 3 else 1.0  # one turn of one sitting was interrupted
        hit.add(turns)
    assert ratio(hit, calm).value == pytest.approx(1.0)


def test_sittings_may_differ_in_turns() -> None:
    ours, theirs = Series(), Series()
    for rounds in (2, 5, 3):
        ours.add(np.full((rounds, 4), 2.0))
        theirs.add(np.full((rounds, 4), 1.0))
    assert ratio(ours, theirs).value == pytest.approx(2.0)


def test_the_tail_of_all_samples() -> None:
    ours = Series()
    for _ in range(10):
        turns = np.ones((5, 10))
        turns[0, 0] = 7.0
        ours.add(turns)
    found = tail_latency(ours)
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(7.0)


def test_two_uncertainties_add_in_squares() -> None:
    now, before = Interval(1.1, 1.1 / 1.03, 1.1 * 1.03), Interval(1.0, 1 / 1.04, 1.04)
    found = compared(now, before)
    half = np.hypot(np.log(1.03), np.log(1.04))
    assert found.value == pytest.approx(1.1)
    assert (found.low, found.high) == pytest.approx((1.1 * np.exp(-half), 1.1 * np.exp(half)))


def test_the_interval_of_a_rate() -> None:
    assert wilson(0, 200)[0] == 0.0
    assert wilson(0, 200)[1] == pytest.approx(0.0188, abs=1e-3)
    low, high = wilson(95, 100)
    assert low < 0.95 < high
