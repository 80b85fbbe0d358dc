"""Inputs that every machine makes alike: checks and benchmarks name a seed, not a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from attnc.compiler.manifest import Preprocessing


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


def seeded_pixels(shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Noise of pictures, 0 to 255: for programs that take pictures instead of numbers."""
    spread = seeded_input(shape, seed) * 58 + 118  # the mean and deviation of photographs
    return np.clip(np.rint(spread), 0, 255).astype(np.uint8)


def normalise(pixels: NDArray[np.uint8], rule: Preprocessing) -> NDArray[np.float32]:
    """Pixels [B,3,H,W] as the model takes them: (value / 255 - mean) / std, in RGB."""
    mean, std = (np.array(part, np.float32)[:, None, None] for part in (rule.mean, rule.std))
    return np.ascontiguousarray((pixels.astype(np.float32) / 255 - mean) / std)
