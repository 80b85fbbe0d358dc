"""What the convolution-like operators share: attributes, shapes, costs and hard inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnc.compiler.ops.base import (
    NO_MAX,
    NO_MIN,
    Array,
    Attributes,
    Cost,
    Shape,
    float_bytes,
    size,
)
from attnc.compiler.ops.reference import conv_extent

WINDOW = {"kernel_shape": "ints", "strides": "ints", "pads": "ints", "dilations": "ints"}
CLAMP = {"min": "float", "max": "float"}
#: Text of a Conv node's window attributes, passed on from the function's own.
WINDOW_TEXT = (
    "kernel_shape: ints = @kernel_shape, strides: ints = @strides, "
    "pads: ints = @pads, dilations: ints = @dilations"
)
RELU = {"min": 0.0, "max": NO_MAX}
NO_CLAMP = {"min": NO_MIN, "max": NO_MAX}
RELU6 = {"min": 0.0, "max": 6.0}

#: (batch, height, width, channels in, channels out, window) that have broken kernels before:
#: widths off the vector grid, one pixel, one channel, uneven pads, strides larger than the kernel.
HARD_CONVS: tuple[tuple[int, int, int, int, int, dict[str, Any]], ...] = (
    (1, 7, 7, 28, 56, {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    (2, 5, 9, 3, 17, {"kernel_shape": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}),
    (1, 1, 1, 1, 1, {"kernel_shape": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}),
    (3, 4, 6, 75, 66, {"kernel_shape": (1, 1), "strides": (1, 1), "pads": (0, 0, 0, 0)}),
    (1, 8, 5, 16, 48, {"kernel_shape": (1, 1), "strides": (2, 3), "pads": (0, 0, 0, 0)}),
    (1, 9, 11, 5, 33, {"kernel_shape": (5, 1), "strides": (1, 2), "pads": (2, 0, 1, 0)}),
    (2, 13, 10, 28, 56, {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    (1, 2, 35, 19, 35, {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    (3, 1, 1, 9, 64, {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    (1, 10, 10, 4, 20, {"kernel_shape": (4, 4), "strides": (4, 4), "pads": (0, 0, 0, 0)}),
    (1, 9, 9, 6, 50, {"kernel_shape": (3, 3), "pads": (2, 2, 2, 2), "dilations": (2, 2)}),
)


def window(spec: dict[str, Any]) -> dict[str, Any]:
    """Window attributes with the usual defaults filled in."""
    return {
        "kernel_shape": tuple(spec["kernel_shape"]),
        "strides": tuple(spec.get("strides", (1, 1))),
        "pads": tuple(spec.get("pads", (0, 0, 0, 0))),
        "dilations": tuple(spec.get("dilations", (1, 1))),
    }


def spatial(height: int, width: int, attributes: Attributes) -> tuple[int, int]:
    """Output height and width of a window operator."""
    (kh, kw), (sh, sw) = attributes["kernel_shape"], attributes["strides"]
    top, left, bottom, right = attributes["pads"]
    dh, dw = attributes.get("dilations", (1, 1))
    return conv_extent(height, kh, sh, top + bottom, dh), conv_extent(
        width, kw, sw, left + right, dw
    )


def clamped(y: Array, attributes: Attributes) -> Array:
    """y within the attributes `min` and `max`."""
    return np.clip(y, attributes["min"], attributes["max"])


def conv_cost(out: Shape, k: int, shapes: Sequence[Shape]) -> Cost:
    """Cost of a dense product of depth k into `out`, reading all of `shapes` once."""
    return Cost(flops=2 * k * size(out), bytes=float_bytes(out, *shapes))


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    """Float32 normal values."""
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def weights(rng: np.random.Generator, *shape: int) -> Array:
    """Float32 weights [N, ...] scaled by the square root of their fan-in."""
    return normal(rng, *shape, scale=float(np.prod(shape[1:])) ** -0.5)
