"""Images sampled at given coordinates: resample, and affine, which computes the coordinates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attnc.compiler.errors import UnsupportedError
from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import Array


def _to_pixels(values: Array, size: int, mode: str, align_corners: bool) -> Array:
    """Coordinates as pixel positions, of which the first is 0 and the last `size - 1`."""
    if mode == "unnormalized":
        return values
    if mode not in ("normalized_minus_one_to_one", "normalized_zero_to_one"):
        raise ValueError(f"unknown coordinates_mode '{mode}'")
    portion = (values + 1) / 2 if mode == "normalized_minus_one_to_one" else values
    return portion * (size - 1) if align_corners else portion * size - 0.5


def _mirrored(points: Array, first: float, last: float) -> Array:
    """Points reflected back and forth between two walls."""
    span = last - first
    if span <= 0:
        return np.full_like(points, first)
    away = np.abs(points - first) % (2 * span)
    return np.asarray(first + np.minimum(away, 2 * span - away))


def _into_image(points: Array, size: int, padding: str) -> Array:
    """Points outside of the image moved to where their padding comes from."""
    if padding == "constant":
        return points
    if padding == "reflection":
        points = _mirrored(points, 0, size - 1)
    elif padding == "symmetric":
        points = _mirrored(points, -0.5, size - 0.5)
    elif padding != "border":
        raise ValueError(f"unknown padding_mode '{padding}'")
    return np.clip(points, 0, size - 1)


def _pixels(image: Array, rows: Array, columns: Array, outside: float) -> Array:
    """image [C, H, W] at whole positions; `outside` where they miss the image."""
    height, width = image.shape[-2:]
    y, x = rows.astype(np.int64), columns.astype(np.int64)
    within = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    taken = image[:, np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    return np.where(within, taken, np.float32(outside))


def _corners(points: Array) -> Iterator[tuple[Array, Array]]:
    """The whole positions on either side, with their weights."""
    low = np.floor(points)
    yield low, 1 - (points - low)
    yield low + 1, points - low


def _sampled(image: Array, rows: Array, columns: Array, mode: str, outside: float) -> Array:
    """image [C, H, W] at fractional positions [H2, W2]."""
    if mode == "nearest":
        return _pixels(image, np.rint(rows), np.rint(columns), outside)
    if mode != "bilinear":
        raise ValueError(f"unknown sampling_mode '{mode}'")
    total = np.zeros((image.shape[0], *rows.shape), np.float32)
    for row, above in _corners(rows):
        for column, left in _corners(columns):
            total += _pixels(image, row, column, outside) * (above * left).astype(np.float32)
    return total


def _images_at(call: Call, coordinates: Array) -> Array:
    """The images of `x` at `coordinates` [B, H2, W2, 2], given as (x, y)."""
    mode, align_corners = call.text("coordinates_mode"), call.flag("align_corners")
    padding, outside = call.text("padding_mode"), call.number("padding_value")
    sampling = call.text("sampling_mode")
    parts = []
    for image, points in zip(call.wide("x"), coordinates, strict=True):
        height, width = image.shape[-2:]
        columns = _to_pixels(points[..., 0], width, mode, align_corners)
        rows = _to_pixels(points[..., 1], height, mode, align_corners)
        rows, columns = _into_image(rows, height, padding), _into_image(columns, width, padding)
        parts.append(_sampled(image, rows, columns, sampling, outside))
    return np.stack(parts)


def _resample(call: Call) -> Array:
    return _images_at(call, call["coordinates"].astype(np.float64))


def _axis(count: int) -> Array:
    """Normalised positions of an output's pixels; a single one stands in the middle."""
    return np.linspace(-1, 1, count) if count > 1 else np.zeros(1)


def _affine(call: Call) -> Array:
    if not call.flag("align_corners"):
        raise UnsupportedError(
            "affine has no align_corners=False",
            where=f"operation {call.type} '{call.name}'",
            remedy="use resample",
        )
    y, x = np.meshgrid(
        _axis(call.int("output_height")), _axis(call.int("output_width")), indexing="ij"
    )
    places = np.stack([x, y, np.ones_like(x)], axis=-1)
    matrices = call["transform_matrix"].astype(np.float64).reshape(-1, 2, 3)
    coordinates = np.stack([places @ matrix.T for matrix in matrices])
    return _images_at(call, np.broadcast_to(coordinates, (len(call["x"]), *places.shape[:2], 2)))


OPERATIONS = {"affine": _affine, "resample": _resample}
