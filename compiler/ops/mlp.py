"""Mlp: a transformer's feed-forward block, y = x + gelu(norm(x) w1^T + b1) w2^T + b2.

The LayerNorm's scale and shift are in w1 and b1.
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
from attnc.compiler.ops.linear import EPSILON, hard_rows, product
from attnc.compiler.ops.reference import gelu, layer_norm

#: (sizes before the last axis, channels, hidden)
HARD_SIZES: tuple[tuple[Shape, int, int], ...] = (
    ((1, 1), 1, 1),
    ((1, 1), 48, 192),
    ((1, 7), 75, 33),
    ((2, 25), 28, 112),
    ((1, 197), 36, 150),
    ((2, 3, 5), 17, 300),
    ((330,), 20, 530),
)


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """The shape of x."""
    return shapes[0]


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """Two products per row."""
    return Cost(4 * size(shapes[0]) * shapes[1][0], float_bytes(shapes[0], *shapes))


def reference(x: Array, w1: Array, b1: Array, w2: Array, b2: Array, **a: object) -> Array:
    """Float64 Mlp."""
    epsilon = a["epsilon"]
    assert isinstance(epsilon, float)
    hidden = gelu(product(layer_norm(x, epsilon), w1, b1))
    return np.asarray(x + product(hidden, w2, b2))


def examples(rng: np.random.Generator) -> list[Example]:
    """Odd widths and row counts; one of large magnitude, one with a row of equal values."""
    found = []
    for index, (sizes, channels, hidden) in enumerate(HARD_SIZES):
        inputs = (
            hard_rows(rng, index, *sizes, channels),
            weights(rng, hidden, channels),
            normal(rng, hidden),
            weights(rng, channels, hidden),
            normal(rng, channels),
        )
        label = f"m{size(sizes)}c{channels}h{hidden}"
        found.append(Example(label, inputs, {"epsilon": (1e-6, 1e-5)[index % 2]}))
    return found


MLP = Operator(
    name="Mlp",
    inputs=("x", "w1", "b1", "w2", "b2"),
    outputs=("y",),
    attributes=dict(EPSILON),
    body=(
        text.layer_norm("n", "x")
        + text.rows_linear("h", "n", "w1", "b1")
        + "  a = Gelu (h)\n"
        + text.rows_linear("z", "a", "w2", "b2")
        + "  y = Add (x, z)"
    ),
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="residual feed-forward block of a transformer, LayerNorm included",
)
