"""Parity figures, on arrays where they are known."""

from __future__ import annotations

import numpy as np
import pytest

from attnc.runtimes.compare import compare


def test_known_distances() -> None:
    expected = np.array([[1.0, -4.0, 2.0], [0.0, 1.0, 3.0]], np.float32)
    actual = expected.copy()
    actual[0, 0] = 1.5
    found = compare(actual, expected)
    assert found.absolute == 0.5
    assert found.relative == 0.125
    assert found.top1 == 1.0
    assert 0.99 < found.cosine < 1


def test_top1_counts_rows() -> None:
    expected = np.eye(4, dtype=np.float32)
    actual = expected.copy()
    actual[0] = [0, 2, 0, 0]
    assert compare(actual, expected).top1 == 0.75


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_infinitely_far(bad: float) -> None:
    good = np.ones((1, 3), np.float32)
    broken = good.copy()
    broken[0, 1] = bad
    assert compare(broken, good).relative == np.inf
    assert compare(good, broken).relative == np.inf


def test_zero_against_zero_and_against_something() -> None:
    zero, one = np.zeros((1, 2)), np.ones((1, 2))
    assert compare(zero, zero).relative == 0
    assert compare(one, zero).relative == np.inf


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        compare(np.ones((1, 2)), np.ones((2, 1)))
    with pytest.raises(ValueError, match="cannot compare"):
        compare(np.ones((0, 2)), np.ones((0, 2)))
