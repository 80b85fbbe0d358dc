"""Where resized pixels are sampled, and what lies between two pixels."""

from __future__ import annotations

import numpy as np

from attnc.compiler.errors import UnsupportedError
from attnc.runtimes.coreml.types import Array


def sampling_grid(mode: str, count: int, start: float, end: float) -> Array:
    """`count` positions between the pixels `start` and `end`, in float64, by a sampling mode."""
    last, steps = end - start, np.arange(count)
    size = last + 1
    if mode == "ALIGN_CORNERS" and count == 1:
        points = np.array([last / 2])
    elif mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = steps * (last / max(1, count - 1))
    elif mode == "DEFAULT":
        points = steps * (size / count)
    elif mode == "OFFSET_CORNERS":
        points = (steps + 0.5) * (max(1, last) / count)
    elif mode == "UNALIGN_CORNERS":
        points = (steps + 0.5) * (size / count) - 0.5
    else:
        raise ValueError(f"unknown sampling mode '{mode}'")
    return np.asarray(start + np.clip(points, min(0, last), max(0, last)))


def linear_along(x: Array, points: Array, axis: int) -> Array:
    """`x` at fractional positions along one axis, which all lie within it."""
    low = np.floor(points).astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    shape = [1] * x.ndim
    shape[axis] = -1
    part = (points - low).astype(np.float32).reshape(shape)
    first, second = np.take(x, low, axis), np.take(x, high, axis)
    return np.asarray(first * (1 - part) + second * part)


def stretched_along(x: Array, count: int, axis: int) -> Array:
    """`x` resized along one axis: an output pixel takes the input pixel in which it begins."""
    return np.asarray(np.take(x, np.arange(count) * x.shape[axis] // count, axis))


def nearest_along(x: Array, mode: str, count: int, axis: int) -> Array:
    """`x` resized along one axis: an output pixel takes the input pixel that holds its centre.

    The published conversions of TensorFlow's resizes rely on this for DEFAULT as well.
    """
    if mode not in ("DEFAULT", "UNALIGN_CORNERS"):
        raise UnsupportedError(
            f"which neighbour is nearest in the sampling mode '{mode}' is not documented",
            remedy="use the sampling mode DEFAULT, or interpolate linearly",
        )
    centres = (2 * np.arange(count) + 1) * x.shape[axis]
    return np.asarray(np.take(x, centres // (2 * count), axis))
