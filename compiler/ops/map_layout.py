"""MapToNhwc, MapToNchw: a feature map in the other order of axes.

They stand where a channels-last region of the graph meets what stays channels-first, its input
and its output above all. ONNX's Transpose does the same on one thread.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops.base import (
    Array,
    Attributes,
    Cost,
    Example,
    Operator,
    Shape,
    float_bytes,
)
from attnc.compiler.ops.convolution import normal
from attnc.compiler.ops.reference import to_nchw, to_nhwc

#: (batch, channels, height, width): whole blocks, ends of blocks, one row, one channel, one pixel.
HARD_SIZES = (
    (1, 64, 16, 16),
    (2, 19, 7, 5),
    (3, 1, 4, 9),
    (1, 33, 1, 1),
    (1, 3, 1, 50),
    (2, 70, 9, 15),
)


def nhwc_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,C,H,W] to [B,H,W,C]."""
    batch, channels, height, width = shapes[0]
    return batch, height, width, channels


def nchw_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,H,W,C] to [B,C,H,W]."""
    batch, height, width, channels = shapes[0]
    return batch, channels, height, width


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """No arithmetic; every element is read and written once."""
    return Cost(0, float_bytes(shapes[0], shapes[0]))


def _last(x: Array) -> Array:
    return np.ascontiguousarray(to_nhwc(np.asarray(x, np.float64)))


def _first(x: Array) -> Array:
    return np.ascontiguousarray(to_nchw(np.asarray(x, np.float64)))


def first_examples(rng: np.random.Generator) -> list[Example]:
    """Channels-first maps."""
    return [Example("x".join(map(str, s)), (normal(rng, *s),), {}) for s in HARD_SIZES]


def last_examples(rng: np.random.Generator) -> list[Example]:
    """The same maps channels-last."""
    return [
        Example(e.label, (np.ascontiguousarray(to_nhwc(e.inputs[0])),), {})
        for e in first_examples(rng)
    ]


MAP_TO_NHWC = Operator(
    name="MapToNhwc",
    inputs=("x",),
    outputs=("y",),
    attributes={},
    body="  y = Transpose <perm: ints = [0, 2, 3, 1]> (x)",
    reference=_last,
    output_shape=nhwc_shape,
    examples=first_examples,
    cost=cost,
    doc="channels-first map to channels-last",
)

MAP_TO_NCHW = Operator(
    name="MapToNchw",
    inputs=("x",),
    outputs=("y",),
    attributes={},
    body="  y = Transpose <perm: ints = [0, 3, 1, 2]> (x)",
    reference=_first,
    output_shape=nchw_shape,
    examples=last_examples,
    cost=cost,
    doc="channels-last map to channels-first",
)
