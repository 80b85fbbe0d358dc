"""Metrics against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from attnc.runtimes.proof.metrics import measure


def test_each_measure_by_its_definition() -> None:
    rng = np.random.default_rng()
    expected = rng.standard_normal((4, 10))
    actual = expected + 1e-3 * rng.standard_normal((4, 10))
    found = measure(actual, expected)
    error = np.abs(actual - expected)
    assert found.max_absolute == pytest.approx(error.max())
    assert found.mean_absolute == pytest.approx(error.mean())
    assert found.max_relative == pytest.approx(error.max() / np.abs(expected).max())
    assert found.mean_relative == pytest.approx(error.mean() / np.abs(expected).max())
    power, noise = np.square(expected).sum(), np.square(error).sum()
    assert found.sqnr_db == pytest.approx(10 * np.log10(power / noise))
    assert found.cosine == pytest.approx(
        float(np.vdot(actual, expected) / np.linalg.norm(actual) / np.linalg.norm(expected))
    )


def test_first_classes() -> None:
    expected = np.array([[3.0, 2, 1, 0, -1, -2], [0, 1, 2, 3, 4, 5]])
    actual = np.array([[2.0, 3, 1, 0, -1, -2], [5, 4, 3, 2, 1, 0]])
    found = measure(actual, expected)
    assert (found.top1, found.top5) == (0.0, 0.5)


def test_equal_arrays_and_zeros() -> None:
    same = measure(np.ones((1, 3)), np.ones((1, 3)))
    assert (same.max_relative, same.cosine, same.top1) == (0.0, pytest.approx(1.0), 1.0)
    assert same.as_json()["sqnr_db"] is None
    assert measure(np.zeros((1, 3)), np.zeros((1, 3))).max_relative == 0.0
    assert measure(np.ones((1, 3)), np.zeros((1, 3))).max_relative == np.inf


def test_what_is_not_finite_is_infinitely_far() -> None:
    found = measure(np.array([[1.0, np.nan]]), np.ones((1, 2)))
    assert found.max_relative == np.inf
    assert found.as_json()["max_relative"] is None


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        measure(np.ones(3), np.ones(4))
