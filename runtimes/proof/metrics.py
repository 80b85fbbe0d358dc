"""How far an output is from the one expected, in the measures that people of this field use."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    if actual.shape != expected.shape or actual.size == 0:
        raise ValueError(f"cannot compare {actual.shape} with {expected.shape}")
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Metrics(np.inf, np.inf, np.inf, np.inf, 0.0, -np.inf, 0.0, 0.0)
    error = np.abs(a - b)
    scale = float(np.abs(b).max())
    largest, mean = float(error.max()), float(error.mean())
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    noise, power = float(np.square(error).sum()), float(np.square(b).sum())
    return Metrics(
        largest,
        mean,
        _share(largest, scale),
        _share(mean, scale),
        float(np.vdot(a, b)) / norms if norms else float(np.array_equal(a, b)),
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
