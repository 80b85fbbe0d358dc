"""Windows, grids and gates as plain loops: what the evaluator's library calls are held against."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def paddings(
    kind: str, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]
) -> list[tuple[int, int]]:
    """Elements before and after each dimension, so that outputs number ceil(size / stride)."""
    found = []
    for length, window, step in zip(size, kernel, stride, strict=True):
        outputs = -(-length // step)
        total = max((outputs - 1) * step + window - length, 0)
        small, large = total // 2, total - total // 2
        found.append((large, small) if kind == "same_lower" else (small, large))
    return found


def convolution(
    x: Array,
    weight: Array,
    *,
    bias: Array | None = None,
    stride: Sequence[int],
    pad: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int = 1,
) -> Array:
    """Cross-correlation of [n, C, *D] with [O, C/groups, *K], one output position at a time."""
    weight = weight.astype(np.float64)
    x = np.pad(x, [(0, 0), (0, 0), *pad])
    reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    spatial = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, stride, strict=True)]
    result = np.zeros((x.shape[0], weight.shape[0], *spatial))
    width, per_group = weight.shape[1], weight.shape[0] // groups
    for channel in range(weight.shape[0]):
        group = channel // per_group
        own = x[:, group * width : (group + 1) * width]
        for place in itertools.product(*map(range, spatial)):
            window = tuple(
                slice(p * s, p * s + r, d)
                for p, s, r, d in zip(place, stride, reach, dilation, strict=True)
            )
            patch = own[(slice(None), slice(None), *window)]
            for batch in range(x.shape[0]):
                result[(batch, channel, *place)] = np.sum(patch[batch] * weight[channel])
    if bias is not None:
        result += bias.reshape(-1, *[1] * len(spatial))
    return result


def transposed_convolution(
    x: Array,
    weight: Array,
    *,
    bias: Array | None = None,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Array:
    """Every input value stamps the kernel [C, O/groups, *K] onto the uncropped output."""
    weight = weight.astype(np.float64)
    spatial = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(x.shape[2:], stride, weight.shape[2:], dilation, strict=True)
    ]
    width = weight.shape[1]
    result = np.zeros((x.shape[0], width * groups, *spatial))
    for channel in range(x.shape[1]):
        first = channel // (x.shape[1] // groups) * width
        for place in itertools.product(*map(range, x.shape[2:])):
            for tap in itertools.product(*map(range, weight.shape[2:])):
                goal = tuple(
                    p * s + t * d for p, s, t, d in zip(place, stride, tap, dilation, strict=True)
                )
                share = x[(slice(None), channel, *place)][:, None]
                stamp = weight[(channel, slice(None), *tap)][None]
                result[(slice(None), slice(first, first + width), *goal)] += share * stamp
    if bias is not None:
        result += bias.reshape(-1, *[1] * len(spatial))
    return result


def pooling(
    x: Array,
    reduce: Callable[[Array, int], float],
    kernel: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[tuple[int, int]],
    outputs: Sequence[int],
) -> Array:
    """`reduce` of (the real values in a window, the window's size inside the padded input)."""
    result = np.zeros((*x.shape[:2], *outputs))
    for place in itertools.product(*map(range, outputs)):
        window, inside = [], 1
        for p, k, s, (before, after), n in zip(
            place, kernel, stride, pad, x.shape[2:], strict=True
        ):
            start = p * s - before
            window.append(slice(max(start, 0), min(start + k, n)))
            inside *= min(start + k, n + after) - start
        for index in itertools.product(*map(range, x.shape[:2])):
            result[(*index, *place)] = reduce(x[(*index, *window)], inside)
    return result


def grid(mode: str, size: int, target: int) -> list[float]:
    """Where the outputs of a resize along one dimension sample the input, by MIL's formulas."""
    steps = max(target - 1, 1)
    if mode == "STRICT_ALIGN_CORNERS":
        points = [i * (size - 1) / steps for i in range(target)]
    elif mode == "ALIGN_CORNERS":
        points = [i * (size - 1) / steps for i in range(target)]
        points = [(size - 1) / 2] if target == 1 else points
    elif mode == "DEFAULT":
        points = [i * (size - size / target) / steps for i in range(target)]
    elif mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / target
        points = [0.5 * delta + i * delta for i in range(target)]
    else:
        points = [(i + 0.5) * size / target - 0.5 for i in range(target)]
    return [min(size - 1, max(0.0, point)) for point in points]


def sampled(x: Array, rows: Sequence[float], columns: Sequence[float]) -> Array:
    """The last two dimensions of `x`, read bilinearly at every pair of row and column."""
    result = np.zeros((*x.shape[:-2], len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            result[..., i, j] = bilinear(x, row, column)
    return result


def bilinear(x: Array, row: float, column: float) -> Array:
    """One point of the last two dimensions, between its four neighbours; none outside."""
    top, left = math.floor(row), math.floor(column)
    down, right = row - top, column - left
    total = np.zeros(x.shape[:-2])
    for i, part in ((top, 1 - down), (top + 1, down)):
        for j, share in ((left, 1 - right), (left + 1, right)):
            if part * share:
                total = total + part * share * x[..., i, j]
    return total
