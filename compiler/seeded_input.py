"""Inputs that every machine makes alike: checks and benchmarks name a seed, not a file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def seeded_input(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Normally distributed float32 values, as normalised pictures roughly are.

    Philox and Box-Muller rather than `standard_normal`, whose stream NumPy may change.
    """
    count = int(np.prod(shape))
    words = np.random.Philox(key=seed).random_raw(2 * count).reshape(2, count)
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius: NDArray[np.float64] = np.sqrt(-2.0 * np.log(uniform[0]))
    normal: NDArray[np.float32] = (radius * np.cos(2.0 * np.pi * uniform[1])).astype(np.float32)
    return normal.reshape(shape)
