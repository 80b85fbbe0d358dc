"""SingleHeadAttention: SHViT's token mixer (arXiv 2401.16456, section 3.2), residual included.

The first dim_v channels are normalised as one group and attend with one head; the rest passes
by; both are clamped, projected and added to x. NCHW; BatchNorms already folded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Example, Operator, Shape, float_bytes
from attnc.compiler.ops.convolution import CLAMP, NO_CLAMP, RELU, clamped, normal, weights
from attnc.compiler.ops.reference import conv2d, softmax

#: (batch, height, width, channels, dim_qk, dim_v)
HARD_SIZES = (
    (1, 1, 1, 20, 16, 4),
    (2, 7, 7, 128, 16, 48),
    (3, 4, 4, 100, 16, 75),
    (1, 5, 9, 70, 16, 66),
    (1, 3, 3, 33, 8, 32),
    (1, 12, 10, 96, 24, 17),
    (1, 4, 5, 40, 16, 40),
)


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """The shape of x."""
    return shapes[0]


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """qkv, both attention products and the projection."""
    batch, channels, height, width = shapes[0]
    tokens = height * width
    dim_qk, dim_v = attributes["dim_qk"], attributes["dim_v"]
    products = dim_v * (2 * dim_qk + dim_v) + tokens * (dim_qk + dim_v) + channels * channels
    return Cost(2 * batch * tokens * products, float_bytes(shapes[0], *shapes))


def group_norm(x: Array, gamma: Array, beta: Array, epsilon: float) -> Array:
    """One group over (C,H,W), affine per channel."""
    x = np.asarray(x, np.float64)
    centred = x - x.mean(axis=(1, 2, 3), keepdims=True)
    variance = (centred**2).mean(axis=(1, 2, 3), keepdims=True)
    scaled = centred / np.sqrt(variance + epsilon)
    return np.asarray(scaled * gamma[:, None, None] + beta[:, None, None])


def attend(qkv: Array, dim_qk: int, scale: float) -> Array:
    """[B, 2*dim_qk+dim_v, H, W] to [B, dim_v, H, W]."""
    flat = qkv.reshape(*qkv.shape[:2], -1)
    q, k, v = np.split(flat, [dim_qk, 2 * dim_qk], axis=1)
    weights_ = softmax(scale * np.einsum("bci,bcj->bij", q, k))
    out = np.einsum("bcj,bij->bci", v, weights_)
    return np.asarray(out.reshape(out.shape[0], out.shape[1], *qkv.shape[2:]))


def reference(
    x: Array,
    gamma: Array,
    beta: Array,
    wqkv: Array,
    bqkv: Array,
    wproj: Array,
    bproj: Array,
    **attributes: float,
) -> Array:
    """Float64 SingleHeadAttention."""
    dim_qk, dim_v = int(attributes["dim_qk"]), int(attributes["dim_v"])
    normalised = group_norm(x[:, :dim_v], gamma, beta, attributes["epsilon"])
    out = attend(conv2d(normalised, wqkv, bqkv), dim_qk, attributes["scale"])
    joined = np.concatenate([out, np.asarray(x[:, dim_v:], np.float64)], axis=1)
    return np.asarray(x + conv2d(clamped(joined, attributes), wproj, bproj))


def examples(rng: np.random.Generator) -> list[Example]:
    """One token, odd widths, no untouched channels, large magnitudes, equal tokens."""
    found = []
    for index, (batch, height, width, channels, dim_qk, dim_v) in enumerate(HARD_SIZES):
        rows = 2 * dim_qk + dim_v
        x = normal(rng, batch, channels, height, width, scale=50.0 if index == 1 else 1.0)
        if index == 2:
            x[:] = x[:, :, :1, :1]
        inputs = (
            x,
            1 + normal(rng, dim_v, scale=0.1),
            normal(rng, dim_v),
            2 * weights(rng, rows, dim_v, 1, 1),
            normal(rng, rows),
            weights(rng, channels, channels, 1, 1),
            normal(rng, channels),
        )
        attributes = {"dim_qk": dim_qk, "dim_v": dim_v, "epsilon": 1e-5, "scale": dim_qk**-0.5}
        clamp = NO_CLAMP if index == 3 else RELU
        found.append(Example(f"n{height * width}v{dim_v}", inputs, {**attributes, **clamp}))
    return found


#: Normalises x1 [B,...] over all but the batch axis, then defines `n` (no affine).
NORMALISE = (
    text.ints("axes", 1, 2, 3)
    + "  mean = ReduceMean <keepdims: int = 1> (x1, axes)\n"
    + "  centred = Sub (x1, mean)\n"
    + "  square = Mul (centred, centred)\n"
    + "  variance = ReduceMean <keepdims: int = 1> (square, axes)\n"
    + "  eps = Constant <value_float: float = @epsilon> ()\n"
    + "  shifted = Add (variance, eps)\n"
    + "  deviation = Sqrt (shifted)\n"
    + "  n = Div (centred, deviation)\n"
)

_BODY = (
    text.attribute_int("dv", "dim_v")
    + text.attribute_int("dqk", "dim_qk")
    + text.first("x1", "x", "dv", 1)
    + text.rest("x2", "x", "dv", 1)
    + NORMALISE
    + text.ints("column", 1, -1, 1, 1)
    + "  g4 = Reshape (gamma, column)\n  b4 = Reshape (beta, column)\n"
    + "  ng = Mul (n, g4)\n  nb = Add (ng, b4)\n"
    + "  qkv = Conv (nb, wqkv, bqkv)\n"
    + text.ints("flat", 0, 0, -1)
    + "  rows = Reshape (qkv, flat)\n"
    + "  parts = Concat <axis: int = 0> (dqk, dqk, dv)\n"
    + "  q, k, v = Split <axis: int = 1> (rows, parts)\n"
    + "  qt = Transpose <perm: ints = [0, 2, 1]> (q)\n"
    + "  product = MatMul (qt, k)\n"
    + "  factor = Constant <value_float: float = @scale> ()\n"
    + "  scores = Mul (product, factor)\n"
    + "  probabilities = Softmax <axis: int = -1> (scores)\n"
    + "  pt = Transpose <perm: ints = [0, 2, 1]> (probabilities)\n"
    + "  o = MatMul (v, pt)\n"
    + "  map = Shape (x1)\n"
    + "  o4 = Reshape (o, map)\n"
    + "  joined = Concat <axis: int = 1> (o4, x2)\n"
    + text.clamp("a", "joined")
    + "  p = Conv (a, wproj, bproj)\n"
    + "  y = Add (x, p)"
)

SINGLE_HEAD_ATTENTION = Operator(
    name="SingleHeadAttention",
    inputs=("x", "gamma", "beta", "wqkv", "bqkv", "wproj", "bproj"),
    outputs=("y",),
    attributes={"dim_qk": "int", "dim_v": "int", "epsilon": "float", "scale": "float", **CLAMP},
    body=_BODY,
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="SHViT's single-head attention block with its residual (NCHW)",
)
