"""PoolLinearNhwc: the classifier head on a channels-last map, packed weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Operator, Shape, float_bytes, size
from attnc.compiler.ops.lowered import Form, Lowering
from attnc.compiler.ops.packing import pack_matrix, pack_vector, unpack_matrix
from attnc.compiler.ops.pool_linear import POOL_LINEAR


def pack(weights: tuple[Array, ...], attributes: Attributes) -> Form:
    """(w [N,C], b [N]) to panels and a padded bias."""
    w, b = weights
    packed = (pack_matrix(np.ascontiguousarray(w.T)), pack_vector(b))
    return packed, {"out_features": w.shape[0]}


def unpack(packed: tuple[Array, ...], attributes: Attributes) -> Form:
    """Back to (w [N,C], b [N])."""
    n = attributes["out_features"]
    return (unpack_matrix(packed[0], n).T, packed[1][:n]), {}


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,H,W,C] to [B,N]."""
    return shapes[0][0], attributes["out_features"]


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """The mean and one product per image."""
    out = output_shape(shapes, attributes)
    flops = size(shapes[0]) + 2 * size(out) * shapes[0][3]
    return Cost(flops, float_bytes(out, *shapes))


LOWERING = Lowering(POOL_LINEAR, pack, unpack)

POOL_LINEAR_NHWC = Operator(
    name="PoolLinearNhwc",
    inputs=("x", "w", "b"),
    outputs=("y",),
    attributes={"out_features": "int"},
    body=(
        text.attribute_int("n", "out_features")
        + text.ints("axes", 1, 2)
        + "  m = ReduceMean <keepdims: int = 0> (x, axes)\n"
        + text.linear("y", "m", "w", "b", "n")
    ),
    reference=LOWERING.reference,
    output_shape=output_shape,
    examples=LOWERING.examples,
    cost=cost,
    doc="spatial mean and linear layer; channels-last, packed weights",
)
