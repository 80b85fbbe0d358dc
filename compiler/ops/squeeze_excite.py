"""SqueezeExcite: channel gates from the spatial mean (arXiv 1709.01507), NCHW.

y = x * sigmoid(W2 relu(W1 mean(x) + b1) + b2)
"""

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
from attnc.compiler.ops.convolution import normal, weights
from attnc.compiler.ops.reference import conv2d

#: (batch, height, width, channels, reduced)
HARD_SIZES = ((1, 1, 1, 1, 1), (2, 7, 7, 66, 17), (3, 4, 5, 48, 12))


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """The shape of x."""
    return shapes[0]


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """The mean, two small products and the scaling."""
    products = 2 * shapes[0][0] * (size(shapes[1]) + size(shapes[3]))
    return Cost(products + 2 * size(shapes[0]), float_bytes(shapes[0], *shapes))


def gate(x: Array, w1: Array, b1: Array, w2: Array, b2: Array) -> Array:
    """[B,C,H,W] to gates [B,C,1,1] in float64."""
    mean = np.asarray(x, np.float64).mean(axis=(2, 3), keepdims=True)
    hidden = np.maximum(conv2d(mean, w1, b1), 0)
    return np.asarray(1 / (1 + np.exp(-conv2d(hidden, w2, b2))))


def reference(x: Array, w1: Array, b1: Array, w2: Array, b2: Array, **attributes: object) -> Array:
    """Float64 SqueezeExcite."""
    return np.asarray(x * gate(x, w1, b1, w2, b2))


def examples(rng: np.random.Generator) -> list[Example]:
    """One pixel, odd widths, saturated gates."""
    found = []
    for index, (batch, height, width, channels, reduced) in enumerate(HARD_SIZES):
        inputs = (
            normal(rng, batch, channels, height, width),
            weights(rng, reduced, channels, 1, 1),
            normal(rng, reduced),
            weights(rng, channels, reduced, 1, 1),
            normal(rng, channels, scale=40.0 if index == 1 else 1.0),
        )
        found.append(Example(f"c{channels}", inputs, {}))
    return found


#: Defines `gates` [B,C,1,1] from `x` and the NCHW weights.
GATE = (
    text.ints("se_axes", 2, 3)
    + "  se_mean = ReduceMean <keepdims: int = 1> ({x}, se_axes)\n"
    + "  se_1 = Conv (se_mean, {w1}, {b1})\n"
    + "  se_r = Relu (se_1)\n"
    + "  se_2 = Conv (se_r, {w2}, {b2})\n"
    + "  gates = Sigmoid (se_2)\n"
)

SQUEEZE_EXCITE = Operator(
    name="SqueezeExcite",
    inputs=("x", "w1", "b1", "w2", "b2"),
    outputs=("y",),
    attributes={},
    body=GATE.format(x="x", w1="w1", b1="b1", w2="w2", b2="b2") + "  y = Mul (x, gates)",
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="squeeze-and-excite gate (NCHW)",
)
