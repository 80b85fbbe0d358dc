"""FeedForwardNhwc: the residual feed-forward block on channels-last maps, packed weights."""

from __future__ import annotations

from collections.abc import Sequence

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Operator, Shape, float_bytes, size
from attnc.compiler.ops.convolution import CLAMP
from attnc.compiler.ops.feed_forward import FEED_FORWARD, output_shape
from attnc.compiler.ops.lowered import Form, Lowering, pick
from attnc.compiler.ops.packing import pack_conv, pack_vector, unpack_conv


def pack(weights: tuple[Array, ...], attributes: Attributes) -> Form:
    """Both 1x1 weights to panels, both biases padded."""
    w1, b1, w2, b2 = weights
    packed = (pack_conv(w1), pack_vector(b1), pack_conv(w2), pack_vector(b2))
    widths = {"hidden": w1.shape[0], "channels": w2.shape[0]}
    return packed, {**widths, **pick(attributes, *CLAMP)}


def unpack(packed: tuple[Array, ...], attributes: Attributes) -> Form:
    """Back to (w1, b1, w2, b2)."""
    w1, b1, w2, b2 = packed
    hidden, channels = attributes["hidden"], attributes["channels"]
    up, down = unpack_conv(w1, hidden, (1, 1)), unpack_conv(w2, channels, (1, 1))
    return (up, b1[:hidden], down, b2[:channels]), pick(attributes, *CLAMP)


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """Two products per pixel."""
    work = size(shapes[0]) * attributes["hidden"]
    return Cost(4 * work, float_bytes(shapes[0], *shapes))


LOWERING = Lowering(FEED_FORWARD, pack, unpack)

FEED_FORWARD_NHWC = Operator(
    name="FeedForwardNhwc",
    inputs=("x", "w1", "b1", "w2", "b2"),
    outputs=("y",),
    attributes={"hidden": "int", "channels": "int", **CLAMP},
    body=(
        text.attribute_int("wide", "hidden")
        + text.attribute_int("narrow", "channels")
        + text.linear("h", "x", "w1", "b1", "wide")
        + text.clamp("a", "h")
        + text.linear("z", "a", "w2", "b2", "narrow")
        + "  y = Add (x, z)"
    ),
    reference=LOWERING.reference,
    output_shape=output_shape,
    examples=LOWERING.examples,
    cost=cost,
    doc="residual feed-forward block; channels-last, packed weights",
)
