"""PoolLinear: the classifier head, a linear layer on the spatial mean; [B,C,H,W] to [B,N]."""

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

#: (batch, height, width, channels, classes)
HARD_SIZES = ((1, 1, 1, 1, 1), (1, 4, 4, 448, 1000), (3, 5, 3, 66, 17), (2, 7, 7, 20, 48))


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,C,H,W] and [N,C] to [B,N]."""
    return shapes[0][0], shapes[1][0]


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """The mean and one product per image."""
    flops = size(shapes[0]) + 2 * shapes[0][0] * size(shapes[1])
    return Cost(flops, float_bytes(output_shape(shapes, attributes), *shapes))


def reference(x: Array, w: Array, b: Array, **attributes: object) -> Array:
    """Float64 PoolLinear."""
    return np.asarray(np.asarray(x, np.float64).mean(axis=(2, 3)) @ np.asarray(w, np.float64).T + b)


def examples(rng: np.random.Generator) -> list[Example]:
    """One pixel, the usual head, odd widths."""
    return [
        Example(
            f"c{channels}n{classes}",
            (
                normal(rng, batch, channels, height, width),
                weights(rng, classes, channels),
                normal(rng, classes),
            ),
            {},
        )
        for batch, height, width, channels, classes in HARD_SIZES
    ]


POOL_LINEAR = Operator(
    name="PoolLinear",
    inputs=("x", "w", "b"),
    outputs=("y",),
    attributes={},
    body=(
        text.ints("axes", 2, 3)
        + "  m = ReduceMean <keepdims: int = 0> (x, axes)\n"
        + "  y = Gemm <transB: int = 1> (m, w, b)"
    ),
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="spatial mean and linear layer (NCHW)",
)
