"""The resample and affine of MIL: one image position for every output, read with padding."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from mil_programs import Array, Case, cases, check, mb, numbers

draw = numbers(121)

X = draw(2, 3, 5, 4)
#: Off the halves, where the nearest pixel would be in doubt, and beyond every edge.
PLACES = np.round(draw(2, 3, 6, 2, low=-1.9, high=1.9) * 32) / 32 + np.float32(1 / 128)


def position(value: float, size: int, mode: str, align: bool) -> float:
    """A coordinate in pixels."""
    if mode == "unnormalized":
        return value
    part = (value + 1) / 2 if mode == "normalized_minus_one_to_one" else value
    return part * (size - 1) if align else part * size - 0.5


def source(index: int, size: int, padding: str) -> int | None:
    """The pixel that stands at an index of the endlessly padded image."""
    if padding == "constant":
        return index if 0 <= index < size else None
    if padding == "border":
        return min(max(index, 0), size - 1)
    if padding == "reflection":
        folded = index % (2 * size - 2)
        return folded if folded < size else 2 * size - 2 - folded
    folded = index % (2 * size)
    return folded if folded < size else 2 * size - 1 - folded


def read(
    image: Array, row: float, column: float, sampling: str, padding: str, fill: float
) -> Array:
    """[C, H, W] at one position."""

    def pixel(i: int, j: int) -> Array:
        y, x = source(i, image.shape[1], padding), source(j, image.shape[2], padding)
        return np.full(image.shape[0], fill) if y is None or x is None else image[:, y, x]

    if sampling == "nearest":
        return pixel(round(row), round(column))
    top, left = math.floor(row), math.floor(column)
    upper = (1 - (column - left)) * pixel(top, left) + (column - left) * pixel(top, left + 1)
    lower = (1 - (column - left)) * pixel(top + 1, left) + (column - left) * pixel(
        top + 1, left + 1
    )
    return (1 - (row - top)) * upper + (row - top) * lower


def resample(sampling: str, padding: str, mode: str, align: bool, fill: float = 0.0) -> Case:
    """Images read at given (x, y)."""
    places = PLACES
    if mode == "unnormalized":
        places = PLACES * np.float32(4)
    if mode == "normalized_zero_to_one":
        places = PLACES / 2 + np.float32(0.5)

    def expected(x: Array, places: Array) -> Array:
        result = np.zeros((2, 3, 3, 6))
        for n, i, j in np.ndindex(2, 3, 6):
            row = position(places[n, i, j, 1], x.shape[2], mode, align)
            column = position(places[n, i, j, 0], x.shape[3], mode, align)
            result[n, :, i, j] = read(x[n], row, column, sampling, padding, fill)
        return result

    return Case(
        "resample",
        lambda x, places: mb.resample(
            x=x,
            coordinates=places,
            sampling_mode=sampling,
            padding_mode=padding,
            padding_value=fill,
            coordinates_mode=mode,
            align_corners=align,
        ),
        expected,
        (X, places),
        tolerance=2e-5,
        label=f"{sampling}-{padding}-{mode}-{align}",
    )


def affine(matrices: Array) -> Case:
    """Images read on a grid that a matrix moves, turns and stretches."""
    height, width = 4, 6

    def expected(x: Array, matrices: Array) -> Array:
        result = np.zeros((2, 3, height, width))
        for n, i, j in np.ndindex(2, height, width):
            a0, a1, a2, b0, b1, b2 = matrices[n % len(matrices)]
            u, v = 2 * j / (width - 1) - 1, 2 * i / (height - 1) - 1
            column = (a0 * u + a1 * v + a2 + 1) / 2 * (x.shape[3] - 1)
            row = (b0 * u + b1 * v + b2 + 1) / 2 * (x.shape[2] - 1)
            result[n, :, i, j] = read(x[n], row, column, "bilinear", "constant", 0.0)
        return result

    return Case(
        "affine",
        lambda x, m: mb.affine(
            x=x,
            transform_matrix=m,
            output_height=height,
            output_width=width,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=0.0,
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=True,
        ),
        expected,
        (X, matrices),
        tolerance=2e-5,
    )


CASES = [
    *(
        resample(sampling, padding, "normalized_minus_one_to_one", align)
        for sampling in ("bilinear", "nearest")
        for padding in ("constant", "border", "reflection", "symmetric")
        for align in (True, False)
    ),
    resample("bilinear", "constant", "unnormalized", True, 1.5),
    resample("bilinear", "border", "normalized_zero_to_one", False),
    resample("nearest", "constant", "normalized_zero_to_one", True, -2.0),
    affine(np.array([[0.7, 0.4, 0.1, -0.5, 0.9, -0.2]], np.float32)),
    affine(draw(2, 6, low=-1, high=1)),
]


@cases(CASES)
def test_every_output_is_read_at_its_coordinates(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
