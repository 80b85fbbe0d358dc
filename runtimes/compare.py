"""How far apart two outputs are: the one place where parity is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# float32 logits against the source model, max|a-b| / max|b|; the bound of the project.
RELATIVE_LIMIT = 1e-4


@dataclass(frozen=True)
class Comparison:
    """Distances between an output and the one expected."""

    relative: float  # max |a - b| / max |b|
    absolute: float  # max |a - b|
    cosine: float  # of the flattened arrays
    top1: float  # share of rows with the same largest entry, 0..1


def compare(actual: NDArray[Any], expected: NDArray[Any]) -> Comparison:
    """Compare outputs of equal shape [B, N]; a NaN or infinity anywhere is an infinite distance.

    Raises ValueError if the shapes differ or are empty.
    """
    if actual.shape != expected.shape or actual.size == 0:
        raise ValueError(f"cannot compare {actual.shape} with {expected.shape}")
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Comparison(np.inf, np.inf, 0.0, 0.0)
    absolute = float(np.abs(a - b).max())
    scale = float(np.abs(b).max())
    relative = absolute / scale if scale else (np.inf if absolute else 0.0)
    return Comparison(relative, absolute, _cosine(a, b), _top1(a, b))


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.vdot(a, b)) / norms if norms else float(np.array_equal(a, b))


def _top1(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    rows_a, rows_b = a.reshape(a.shape[0], -1), b.reshape(b.shape[0], -1)
    return float((rows_a.argmax(1) == rows_b.argmax(1)).mean())
