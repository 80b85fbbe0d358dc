"""ConvStride2Nhwc: a 3x3 convolution of stride two with 25 products per 2x2 outputs, not 36.

The taps w0, w1, w2 of each axis are stored with w0 + w2 beside them; two neighbouring outputs share
the product of that sum (minimal filtering, Winograd 1980, F(2,2) on the odd pixels). Pads are 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Operator, Shape, float_bytes
from attnc.compiler.ops.convolution import CLAMP
from attnc.compiler.ops.fused_conv import FUSED_CONV
from attnc.compiler.ops.lowered import Form, Lowering, pick
from attnc.compiler.ops.packing import pack_conv, pack_vector, unpack_conv

#: Below this many channels the transforms of the maps cost what the products save.
LEAST_CHANNELS = 8
#: Rows: w0, w1, w2, w0 + w2.
TAPS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]], np.float64)
WINDOW = {
    "kernel_shape": (3, 3),
    "strides": (2, 2),
    "pads": (1, 1, 1, 1),
    "dilations": (1, 1),
    "group": 1,
}


def pack(weights: tuple[Array, ...], attributes: Attributes) -> Form:
    """(w [N,C,3,3], b [N]) to panels over K = (4, 4, c) and a padded bias."""
    w, b = weights
    wide = np.einsum("ik,nckl,jl->ncij", TAPS, np.asarray(w, np.float64), TAPS)
    packed = (pack_conv(wide.astype(np.float32)), pack_vector(b))
    return packed, {"out_channels": w.shape[0], **pick(attributes, *CLAMP)}


def unpack(packed: tuple[Array, ...], attributes: Attributes) -> Form:
    """Back to (w, b): the first three taps of each axis are the weights themselves."""
    n = attributes["out_channels"]
    w = unpack_conv(packed[0], n, (4, 4))[:, :, :3, :3]
    return (w, packed[1][:n]), {**WINDOW, **pick(attributes, *CLAMP)}


def accepts(shapes: Sequence[Shape], attributes: Attributes) -> bool:
    """Whether this is a dense 3x3 convolution of stride 2, pads 1, wide enough to gain."""
    same = all(_plain(attributes[name]) == value for name, value in WINDOW.items())
    return same and shapes[1][1] >= LEAST_CHANNELS


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, (list, tuple)) else value


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,H,W,C] to [B,ceil(H/2),ceil(W/2),N]."""
    batch, height, width, _ = shapes[0]
    return batch, -(-height // 2), -(-width // 2), attributes["out_channels"]


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """The products that remain: 25 for each 2x2 outputs and channel pair."""
    batch, height, width, n = output_shape(shapes, attributes)
    tiles = batch * -(-height // 2) * -(-width // 2)
    out = (batch, height, width, n)
    return Cost(2 * 25 * tiles * n * shapes[0][3], float_bytes(out, *shapes))


LOWERING = Lowering(FUSED_CONV, pack, unpack, accepts=accepts)

_BODY = (
    text.attribute_int("n", "out_channels")
    + text.unpack_matrix("matrix", "w", "n")
    + text.ints("taps", 4, 4, -1)
    + "  wide_shape = Concat <axis: int = 0> (taps, n)\n"
    + "  wide = Reshape (matrix, wide_shape)\n"
    + text.ints("from", 0, 0)
    + text.ints("to", 3, 3)
    + text.ints("axes", 0, 1)
    + "  three = Slice (wide, from, to, axes)\n"
    + "  weight = Transpose <perm: ints = [3, 2, 0, 1]> (three)\n"
    + text.first("bias", "b", "n", 0)
    + text.to_nchw("map", "x")
    + "  c = Conv <kernel_shape: ints = [3, 3], strides: ints = [2, 2], "
    + "pads: ints = [1, 1, 1, 1]> (map, weight, bias)\n"
    + text.clamp("clamped", "c")
    + text.to_nhwc("y", "clamped")
)

CONV_STRIDE2_NHWC = Operator(
    name="ConvStride2Nhwc",
    inputs=("x", "w", "b"),
    outputs=("y",),
    attributes={"out_channels": "int", **CLAMP},
    body=_BODY,
    reference=LOWERING.reference,
    output_shape=output_shape,
    examples=LOWERING.examples,
    cost=cost,
    doc="3x3 convolution of stride 2 with shared products; channels-last, packed weights",
)
