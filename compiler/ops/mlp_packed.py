"""MlpPacked: a transformer's feed-forward block with weights in panels of 16 columns."""

from __future__ import annotations

from collections.abc import Sequence

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Operator, Shape, float_bytes, size
from attnc.compiler.ops.linear import EPSILON
from attnc.compiler.ops.lowered import Form, Lowering, pick
from attnc.compiler.ops.mlp import MLP, output_shape
from attnc.compiler.ops.packing import pack_matrix, pack_vector, unpack_matrix


def pack(weights: tuple[Array, ...], attributes: Attributes) -> Form:
    """Both weights to panels, both biases padded."""
    w1, b1, w2, b2 = weights
    packed = (pack_matrix(w1.T), pack_vector(b1), pack_matrix(w2.T), pack_vector(b2))
    widths = {"hidden": w1.shape[0], "channels": w2.shape[0]}
    return packed, {**widths, **pick(attributes, "epsilon")}


def unpack(packed: tuple[Array, ...], attributes: Attributes) -> Form:
    """Back to (w1, b1, w2, b2)."""
    w1, b1, w2, b2 = packed
    hidden, channels = attributes["hidden"], attributes["channels"]
    up, down = unpack_matrix(w1, hidden).T, unpack_matrix(w2, channels).T
    return (up, b1[:hidden], down, b2[:channels]), pick(attributes, "epsilon")


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """Two products per row."""
    work = size(shapes[0]) * attributes["hidden"]
    return Cost(4 * work, float_bytes(shapes[0], *shapes))


LOWERING = Lowering(MLP, pack, unpack, layout_free=True)

MLP_PACKED = Operator(
    name="MlpPacked",
    inputs=("x", "w1", "b1", "w2", "b2"),
    outputs=("y",),
    attributes={"hidden": "int", "channels": "int", **EPSILON},
    body=(
        text.attribute_int("wide", "hidden")
        + text.attribute_int("narrow", "channels")
        + text.layer_norm("n", "x")
        + text.linear("h", "n", "w1", "b1", "wide")
        + "  a = Gelu (h)\n"
        + text.linear("z", "a", "w2", "b2", "narrow")
        + "  y = Add (x, z)"
    ),
    reference=LOWERING.reference,
    output_shape=output_shape,
    examples=LOWERING.examples,
    cost=cost,
    doc="residual feed-forward block of a transformer; packed weights",
)
