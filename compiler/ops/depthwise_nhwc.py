"""DepthwiseNhwc, DepthwiseGeluNhwc: one filter per channel, channels-last.

Weights are [kh*kw, channels padded to 16].
"""

from __future__ import annotations

from collections.abc import Sequence

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Operator, Shape
from attnc.compiler.ops.convolution import CLAMP, WINDOW, WINDOW_TEXT, conv_cost, spatial
from attnc.compiler.ops.fused_conv import FUSED_CONV, FUSED_CONV_GELU
from attnc.compiler.ops.lowered import Form, Lowering, pick
from attnc.compiler.ops.packing import pack_depthwise, pack_vector, unpack_depthwise


def pack(weights: tuple[Array, ...], attributes: Attributes) -> Form:
    """(w [C,1,kh,kw], b [C]) to [kh*kw, Cp] and [Cp]."""
    w, b = weights
    packed = (pack_depthwise(w), pack_vector(b))
    return packed, {"channels": w.shape[0], **_kept(attributes)}


def unpack(packed: tuple[Array, ...], attributes: Attributes) -> Form:
    """Back to (w [C,1,kh,kw], b [C])."""
    channels, kernel = attributes["channels"], attributes["kernel_shape"]
    weights = (unpack_depthwise(packed[0], channels, tuple(kernel)), packed[1][:channels])
    return weights, {"group": channels, **_kept(attributes)}


def _kept(attributes: Attributes) -> dict[str, object]:
    return pick(attributes, *(name for name in (*WINDOW, *CLAMP) if name in attributes))


def is_depthwise(shapes: Sequence[Shape], attributes: Attributes) -> bool:
    """Whether there are as many groups as channels in and out."""
    return bool(attributes["group"] == shapes[0][1] == shapes[1][0])


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,H,W,C] to [B,OH,OW,C]."""
    batch, height, width, channels = shapes[0]
    return (batch, *spatial(height, width, attributes), channels)


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """One multiply-add per tap and output."""
    return conv_cost(output_shape(shapes, attributes), shapes[1][0], shapes)


def _body(activation: str) -> str:
    return (
        text.attribute_int("n", "channels")
        + text.unpack_depthwise("weight", "w", "n")
        + text.first("bias", "b", "n", 0)
        + text.to_nchw("map", "x")
        + f"  c = Conv <{WINDOW_TEXT}, group: int = @channels> (map, weight, bias)\n"
        + activation
        + text.to_nhwc("y", "activated")
    )


LOWERING = Lowering(FUSED_CONV, pack, unpack, accepts=is_depthwise)
GELU_LOWERING = Lowering(FUSED_CONV_GELU, pack, unpack, accepts=is_depthwise)

DEPTHWISE_NHWC = Operator(
    name="DepthwiseNhwc",
    inputs=("x", "w", "b"),
    outputs=("y",),
    attributes={"channels": "int", **WINDOW, **CLAMP},
    body=_body(text.clamp("activated", "c")),
    reference=LOWERING.reference,
    output_shape=output_shape,
    examples=LOWERING.examples,
    cost=cost,
    doc="depthwise convolution, bias, clamp; channels-last",
)

DEPTHWISE_GELU_NHWC = Operator(
    name="DepthwiseGeluNhwc",
    inputs=("x", "w", "b"),
    outputs=("y",),
    attributes={"channels": "int", **WINDOW},
    body=_body("  activated = Gelu (c)\n"),
    reference=GELU_LOWERING.reference,
    output_shape=output_shape,
    examples=GELU_LOWERING.examples,
    cost=cost,
    doc="depthwise convolution, bias, GELU; channels-last",
)
