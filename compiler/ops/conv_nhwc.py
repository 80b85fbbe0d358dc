"""StemConvNhwc, ConvNhwc and their like: dense convolutions that write channels-last maps.

Weights in panels over K = (kh, kw, c). The stem reads the network's NCHW input, which is the one
place where the layout changes.
"""

from __future__ import annotations

from collections.abc import Sequence

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Operator, Shape
from attnc.compiler.ops.convolution import CLAMP, WINDOW, WINDOW_TEXT, conv_cost, spatial
from attnc.compiler.ops.fused_conv import FUSED_CONV, FUSED_CONV_ADD, FUSED_CONV_GELU
from attnc.compiler.ops.lowered import Form, Lowering, pick
from attnc.compiler.ops.packing import pack_conv, pack_vector, unpack_conv

_KEPT = (*WINDOW, *CLAMP)
_GELU_ATTRIBUTES = {"out_channels": "int", **WINDOW}
_ATTRIBUTES = {**_GELU_ATTRIBUTES, **CLAMP}


def pack(weights: tuple[Array, ...], attributes: Attributes) -> Form:
    """(w [N,C,kh,kw], b [N]) to panels and a padded bias."""
    w, b = weights
    return (pack_conv(w), pack_vector(b)), {"out_channels": w.shape[0], **_kept(attributes)}


def unpack(packed: tuple[Array, ...], attributes: Attributes) -> Form:
    """Panels and padded bias back to (w, b)."""
    n, kernel = attributes["out_channels"], attributes["kernel_shape"]
    weights = (unpack_conv(packed[0], n, tuple(kernel)), packed[1][:n])
    return weights, {"group": 1, **_kept(attributes)}


def _kept(attributes: Attributes) -> dict[str, object]:
    return pick(attributes, *(name for name in _KEPT if name in attributes))


def is_dense(shapes: Sequence[Shape], attributes: Attributes) -> bool:
    """Whether the convolution has one group."""
    return bool(attributes["group"] == 1)


def nhwc_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,H,W,C] to [B,OH,OW,N]."""
    batch, height, width, _ = shapes[0]
    return (batch, *spatial(height, width, attributes), attributes["out_channels"])


def stem_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,C,H,W] to [B,OH,OW,N]."""
    batch, channels, height, width = shapes[0]
    return nhwc_shape([(batch, height, width, channels)], attributes)


def nhwc_cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """Depth K of the panels times the output."""
    return conv_cost(nhwc_shape(shapes, attributes), shapes[1][1], shapes)


def stem_cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """Depth K of the panels times the output."""
    return conv_cost(stem_shape(shapes, attributes), shapes[1][1], shapes)


_UNPACK = (
    text.attribute_int("n", "out_channels")
    + text.unpack_conv("weight", "w", "n")
    + text.first("bias", "b", "n", 0)
)
_CONV = f"  c = Conv <{WINDOW_TEXT}> (map, weight, bias)\n"
_STORE = text.clamp("clamped", "s") + text.to_nhwc("y", "clamped")
_GELU_STORE = "  a = Gelu (c)\n" + text.to_nhwc("y", "a")

STEM_LOWERING = Lowering(FUSED_CONV, pack, unpack, accepts=is_dense, nchw_input=True)
STEM_GELU_LOWERING = Lowering(FUSED_CONV_GELU, pack, unpack, accepts=is_dense, nchw_input=True)
CONV_LOWERING = Lowering(FUSED_CONV, pack, unpack, accepts=is_dense)
CONV_GELU_LOWERING = Lowering(FUSED_CONV_GELU, pack, unpack, accepts=is_dense)
CONV_ADD_LOWERING = Lowering(FUSED_CONV_ADD, pack, unpack, maps=(1, 1), accepts=is_dense)

_STEM_MAP, _MAP = "  map = Identity (x)\n", text.to_nchw("map", "x")
_CLAMP_STORE = "  s = Identity (c)\n" + _STORE


def _convolution(name: str, lowering: Lowering, doc: str) -> Operator:
    """One of the operators without a residual: how it reads x and what comes last."""
    stem, gelu = lowering.nchw_input, lowering.semantic is FUSED_CONV_GELU
    return Operator(
        name=name,
        inputs=("x", "w", "b"),
        outputs=("y",),
        attributes=_GELU_ATTRIBUTES if gelu else _ATTRIBUTES,
        body=(
            _UNPACK
            + (_STEM_MAP if stem else _MAP)
            + _CONV
            + (_GELU_STORE if gelu else _CLAMP_STORE)
        ),
        reference=lowering.reference,
        output_shape=stem_shape if stem else nhwc_shape,
        examples=lowering.examples,
        cost=stem_cost if stem else nhwc_cost,
        doc=doc,
    )


STEM_CONV_NHWC = _convolution(
    "StemConvNhwc", STEM_LOWERING, "convolution from NCHW to channels-last, packed weights"
)
STEM_CONV_GELU_NHWC = _convolution(
    "StemConvGeluNhwc",
    STEM_GELU_LOWERING,
    "convolution from NCHW to channels-last, GELU, packed weights",
)
CONV_NHWC = _convolution(
    "ConvNhwc", CONV_LOWERING, "convolution, bias, clamp; channels-last, packed weights"
)
CONV_GELU_NHWC = _convolution(
    "ConvGeluNhwc", CONV_GELU_LOWERING, "convolution, bias, GELU; channels-last, packed weights"
)

CONV_ADD_NHWC = Operator(
    name="ConvAddNhwc",
    inputs=("x", "w", "b", "r"),
    outputs=("y",),
    attributes=_ATTRIBUTES,
    body=(
        _UNPACK
        + text.to_nchw("map", "x")
        + text.to_nchw("residual", "r")
        + _CONV
        + "  s = Add (c, residual)\n"
        + _STORE
    ),
    reference=CONV_ADD_LOWERING.reference,
    output_shape=nhwc_shape,
    examples=CONV_ADD_LOWERING.examples,
    cost=nhwc_cost,
    doc="convolution, bias, residual, clamp; channels-last, packed weights",
)
