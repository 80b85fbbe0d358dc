"""SingleHeadAttentionNhwc: SHViT's token mixer on channels-last maps, packed weights.

The affine of the norm is folded into qkv (a row scaling and a bias), the softmax scale into q.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Operator, Shape, float_bytes
from attnc.compiler.ops.convolution import CLAMP
from attnc.compiler.ops.lowered import Form, Lowering, pick
from attnc.compiler.ops.packing import pack_conv, pack_vector, unpack_conv
from attnc.compiler.ops.single_head_attention import (
    NORMALISE,
    SINGLE_HEAD_ATTENTION,
    output_shape,
)

_KEPT = ("dim_qk", "dim_v", "epsilon", *CLAMP)


def fold_affine(weights: tuple[Array, ...], dim_qk: int, scale: float) -> tuple[Array, Array]:
    """Norm affine and softmax scale folded into (wqkv, bqkv), in float64, rounded once."""
    gamma, beta, wqkv, bqkv = (np.asarray(array, np.float64) for array in weights)
    matrix = wqkv[:, :, 0, 0]
    bias = bqkv + matrix @ beta
    matrix = matrix * gamma
    factor = np.ones(matrix.shape[0])
    factor[:dim_qk] = scale
    folded = (matrix * factor[:, None])[:, :, None, None]
    return folded.astype(np.float32), (bias * factor).astype(np.float32)


def pack(weights: tuple[Array, ...], attributes: Attributes) -> Form:
    """(gamma, beta, wqkv, bqkv, wproj, bproj) to (wqkv, bqkv, wproj, bproj) in panels."""
    wproj, bproj = weights[4:]
    wqkv, bqkv = fold_affine(weights[:4], attributes["dim_qk"], attributes["scale"])
    packed = (pack_conv(wqkv), pack_vector(bqkv), pack_conv(wproj), pack_vector(bproj))
    return packed, {"channels": wproj.shape[0], **pick(attributes, *_KEPT)}


def unpack(packed: tuple[Array, ...], attributes: Attributes) -> Form:
    """Back to six weights, with the identity as affine and a scale of one."""
    wqkv, bqkv, wproj, bproj = packed
    dim_v, channels = attributes["dim_v"], attributes["channels"]
    rows = 2 * attributes["dim_qk"] + dim_v
    weights = (
        np.ones(dim_v),
        np.zeros(dim_v),
        unpack_conv(wqkv, rows, (1, 1)),
        bqkv[:rows],
        unpack_conv(wproj, channels, (1, 1)),
        bproj[:channels],
    )
    return weights, {"scale": 1.0, **pick(attributes, *_KEPT)}


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """qkv, both attention products and the projection."""
    batch, height, width, channels = shapes[0]
    tokens = height * width
    dim_qk, dim_v = attributes["dim_qk"], attributes["dim_v"]
    products = dim_v * (2 * dim_qk + dim_v) + tokens * (dim_qk + dim_v) + channels * channels
    return Cost(2 * batch * tokens * products, float_bytes(shapes[0], *shapes))


LOWERING = Lowering(SINGLE_HEAD_ATTENTION, pack, unpack)

_BODY = (
    text.attribute_int("dv", "dim_v")
    + text.attribute_int("dqk", "dim_qk")
    + text.attribute_int("c", "channels")
    + text.first("x1", "x", "dv", 3)
    + text.rest("x2", "x", "dv", 3)
    + NORMALISE
    + "  parts = Concat <axis: int = 0> (dqk, dqk, dv)\n"
    + text.ints("sum_axis", 0)
    + "  all = ReduceSum <keepdims: int = 1> (parts, sum_axis)\n"
    + text.linear("qkv", "n", "wqkv", "bqkv", "all")
    + text.ints("copy_batch", 0)
    + text.ints("tokens", -1)
    + "  flat = Concat <axis: int = 0> (copy_batch, tokens, all)\n"
    + "  rows = Reshape (qkv, flat)\n"
    + "  q, k, v = Split <axis: int = 2> (rows, parts)\n"
    + "  kt = Transpose <perm: ints = [0, 2, 1]> (k)\n"
    + "  scores = MatMul (q, kt)\n"
    + "  probabilities = Softmax <axis: int = -1> (scores)\n"
    + "  o = MatMul (probabilities, v)\n"
    + "  map = Shape (x1)\n"
    + "  o4 = Reshape (o, map)\n"
    + "  joined = Concat <axis: int = 3> (o4, x2)\n"
    + text.clamp("a", "joined")
    + text.linear("p", "a", "wproj", "bproj", "c")
    + "  y = Add (x, p)"
)

SINGLE_HEAD_ATTENTION_NHWC = Operator(
    name="SingleHeadAttentionNhwc",
    inputs=("x", "wqkv", "bqkv", "wproj", "bproj"),
    outputs=("y",),
    attributes={"channels": "int", "dim_qk": "int", "dim_v": "int", "epsilon": "float", **CLAMP},
    body=_BODY,
    reference=LOWERING.reference,
    output_shape=output_shape,
    examples=LOWERING.examples,
    cost=cost,
    doc="SHViT's single-head attention block; channels-last, packed weights",
)
