"""How far an output is from the one expected, in the measures that people of this field use."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.runtimes.compare import compare


@dataclass(frozen=True)
class Metrics:
    """Distances of one output; relative ones are to the largest expected magnitude.

    `sqnr_db` is 10 log10 of the expected power over the error's, infinite (None in JSON) where
    both are equal. `top1` and `top5` are shares of rows: the same first class, and the expected
    first class among the first five.
    """

    max_absolute: float
    mean_absolute: float
    max_relative: float
    mean_relative: float
    cosine: float
    sqnr_db: float
    top1: float
    top5: float

    def as_json(self) -> dict[str, float | None]:
        """Numbers that JSON can hold."""
        return {key: value if np.isfinite(value) else None for key, value in asdict(self).items()}


def measure(actual: NDArray[Any], expected: NDArray[Any]) -> Metrics:
    """Metrics of two arrays of one shape; a value that is not finite makes every distance infinite.

    Raises ValueError if shapes differ or are empty.
    """
    distance = compare(actual, expected)
    if not np.isfinite(distance.absolute):
        return Metrics(np.inf, np.inf, np.inf, np.inf, 0.0, -np.inf, 0.0, 0.0)
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    error = np.abs(a - b)
    mean, scale = float(error.mean()), float(np.abs(b).max())
    noise, power = float(np.square(error).sum()), float(np.square(b).sum())
    return Metrics(
        distance.absolute,
        mean,
        distance.relative,
        _share(mean, scale),
        distance.cosine,
        _decibels(power, noise),
        _agreement(a, b, 1),
        _agreement(a, b, 5),
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else (np.inf if part else 0.0)


def _decibels(power: float, noise: float) -> float:
    if not noise:
        return np.inf
    return 10 * float(np.log10(power / noise)) if power else -np.inf


def _agreement(a: NDArray[Any], b: NDArray[Any], first: int) -> float:
    """Share of rows whose expected first entry is among the actual first ones."""
    rows_a, rows_b = a.reshape(len(a), -1) if a.ndim > 1 else a[None], b.reshape(len(b), -1)
    if a.ndim <= 1:
        rows_b = b[None]
    best = np.argsort(-rows_a, axis=1, kind="stable")[:, :first]
    return float((best == rows_b.argmax(1)[:, None]).any(1).mean())
