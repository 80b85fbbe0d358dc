"""FeedForward: the residual pair of 1x1 convolutions, x + W2 clamp(W1 x + b1) + b2 (NCHW)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops import text
from attnc.compiler.ops.base import (
    Array,
    Attributes,
    Cost,
    Example,
    Operator,
    Shape,
    float_bytes,
    size,
)
from attnc.compiler.ops.convolution import CLAMP, RELU, RELU6, clamped, normal, weights
from attnc.compiler.ops.reference import conv2d

#: (batch, height, width, channels, hidden)
HARD_SIZES = (
    (1, 1, 1, 1, 1),
    (1, 7, 7, 28, 56),
    (3, 4, 4, 75, 33),
    (2, 5, 3, 66, 130),
    (1, 14, 14, 48, 96),
)


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """The shape of x."""
    return shapes[0]


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """Two products per pixel."""
    pixels = size(shapes[0]) // shapes[0][1]
    return Cost(4 * pixels * size(shapes[1]), float_bytes(shapes[0], *shapes))


def reference(x: Array, w1: Array, b1: Array, w2: Array, b2: Array, **attributes: object) -> Array:
    """Float64 FeedForward."""
    hidden = clamped(conv2d(x, w1, b1), attributes)
    return np.asarray(x + conv2d(hidden, w2, b2))


def examples(rng: np.random.Generator) -> list[Example]:
    """Odd widths and token counts, with both activations; one of large magnitude."""
    found = []
    for index, (batch, height, width, channels, hidden) in enumerate(HARD_SIZES):
        inputs = (
            normal(rng, batch, channels, height, width, scale=100.0 if index == 1 else 1.0),
            weights(rng, hidden, channels, 1, 1),
            normal(rng, hidden),
            weights(rng, channels, hidden, 1, 1),
            normal(rng, channels),
        )
        found.append(Example(f"c{channels}h{hidden}", inputs, (RELU, RELU6)[index % 2]))
    return found


FEED_FORWARD = Operator(
    name="FeedForward",
    inputs=("x", "w1", "b1", "w2", "b2"),
    outputs=("y",),
    attributes=dict(CLAMP),
    body=(
        "  h = Conv (x, w1, b1)\n"
        + text.clamp("a", "h")
        + "  z = Conv (a, w2, b2)\n  y = Add (x, z)"
    ),
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="residual feed-forward block of two 1x1 convolutions (NCHW)",
)
