"""InvertedBottleneckNhwc: expand, depthwise, gate, project; channels-last, packed weights."""

from __future__ import annotations

from collections.abc import Sequence

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Operator, Shape, float_bytes, size
from attnc.compiler.ops.convolution import CLAMP, spatial
from attnc.compiler.ops.inverted_bottleneck import INVERTED_BOTTLENECK
from attnc.compiler.ops.lowered import Form, Lowering, pick
from attnc.compiler.ops.packing import (
    pack_conv,
    pack_depthwise,
    pack_vector,
    unpack_conv,
    unpack_depthwise,
)

_KEPT = ("kernel_shape", "strides", "pads", *CLAMP)


def pack(weights: tuple[Array, ...], attributes: Attributes) -> Form:
    """Four 1x1 weights to panels, the depthwise one to [kh*kw, Hp], biases padded."""
    w1, b1, wd, bd, s1, c1, s2, c2, w3, b3 = weights
    packed = (
        *(pack_conv(w1), pack_vector(b1), pack_depthwise(wd), pack_vector(bd)),
        *(pack_conv(s1), pack_vector(c1), pack_conv(s2), pack_vector(c2)),
        *(pack_conv(w3), pack_vector(b3)),
    )
    widths = {"hidden": w1.shape[0], "reduced": s1.shape[0], "out_channels": w3.shape[0]}
    return packed, {**widths, **pick(attributes, *_KEPT)}


def unpack(packed: tuple[Array, ...], attributes: Attributes) -> Form:
    """Back to the ten semantic weights."""
    w1, b1, wd, bd, s1, c1, s2, c2, w3, b3 = packed
    hidden, reduced, out = (attributes[n] for n in ("hidden", "reduced", "out_channels"))
    kernel = tuple(attributes["kernel_shape"])
    weights = (
        *(unpack_conv(w1, hidden, (1, 1)), b1[:hidden]),
        *(unpack_depthwise(wd, hidden, kernel), bd[:hidden]),
        *(unpack_conv(s1, reduced, (1, 1)), c1[:reduced]),
        *(unpack_conv(s2, hidden, (1, 1)), c2[:hidden]),
        *(unpack_conv(w3, out, (1, 1)), b3[:out]),
    )
    return weights, {"group": hidden, **pick(attributes, *_KEPT)}


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,H,W,C] to [B,OH,OW,N]."""
    batch, height, width, _ = shapes[0]
    return (batch, *spatial(height, width, attributes), attributes["out_channels"])


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """Expansion at full size, depthwise, gate and projection at the strided size."""
    out = output_shape(shapes, attributes)
    pixels = size(out[:3])
    work = size(shapes[0]) * attributes["hidden"]
    work += pixels * attributes["hidden"] * (shapes[3][0] + out[3])
    work += 2 * shapes[0][0] * attributes["hidden"] * attributes["reduced"]
    return Cost(2 * work, float_bytes(out, *shapes))


LOWERING = Lowering(INVERTED_BOTTLENECK, pack, unpack)

_BODY = (
    text.attribute_int("h", "hidden")
    + text.attribute_int("r", "reduced")
    + text.attribute_int("n", "out_channels")
    + text.linear("e", "x", "w1", "b1", "h")
    + text.clamp("wide", "e")
    + text.to_nchw("map", "wide")
    + text.unpack_depthwise("taps", "wd", "h")
    + text.first("dw_bias", "bd", "h", 0)
    + "  d = Conv <kernel_shape: ints = @kernel_shape, strides: ints = @strides, "
    + "pads: ints = @pads, group: int = @hidden> (map, taps, dw_bias)\n"
    + text.clamp("mixed", "d")
    + text.to_nhwc("m", "mixed")
    + text.ints("axes", 1, 2)
    + "  mean = ReduceMean <keepdims: int = 1> (m, axes)\n"
    + text.linear("squeezed", "mean", "s1", "c1", "r")
    + "  relu = Relu (squeezed)\n"
    + text.linear("excited", "relu", "s2", "c2", "h")
    + "  gates = Sigmoid (excited)\n"
    + "  g = Mul (m, gates)\n"
    + text.linear("y", "g", "w3", "b3", "n")
)

INVERTED_BOTTLENECK_NHWC = Operator(
    name="InvertedBottleneckNhwc",
    inputs=("x", "w1", "b1", "wd", "bd", "s1", "c1", "s2", "c2", "w3", "b3"),
    outputs=("y",),
    attributes={
        "hidden": "int",
        "reduced": "int",
        "out_channels": "int",
        "kernel_shape": "ints",
        "strides": "ints",
        "pads": "ints",
        **CLAMP,
    },
    body=_BODY,
    reference=LOWERING.reference,
    output_shape=output_shape,
    examples=LOWERING.examples,
    cost=cost,
    doc="expand, depthwise, squeeze-and-excite, project; channels-last, packed weights",
)
