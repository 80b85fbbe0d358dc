"""Convolutions and what is fused to them: clamps, GELU, residuals, blocks of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.writer import sizes


def conv(
    to: Forms,
    x: Any,
    weight: Any,
    bias: Any,
    strides: Sequence[int] = (),
    pads: Sequence[int] = (),
    dilations: Sequence[int] = (),
    group: int = 1,
) -> Any:
    """A convolution over one or two axes; `pads` in ONNX's order, all begins, then all ends."""
    axes = len(weight.shape) - 2
    padded = any(pads)
    by_axis = (
        [int(side) for i in range(axes) for side in (pads[i], pads[axes + i])] if padded else None
    )
    return to.emit(
        "conv",
        x=x,
        weight=weight,
        bias=bias,
        strides=list(strides) or [1] * axes,
        pad_type="custom" if padded else "valid",
        pad=by_axis,
        dilations=list(dilations) or [1] * axes,
        groups=group,
    )


def pointwise(to: Forms, x: Any, weight: Any, bias: Any) -> Any:
    """A layer [out, in] on the channels of x [B,C,...], as a convolution of one place."""
    places = [1] * (len(sizes(x)) - 2)
    return conv(to, x, to.reshape(weight, [*sizes(weight)[:2], *places]), bias)


def clamp(to: Forms, x: Any, low: float, high: float) -> Any:
    """x within the bounds, by the activation that has a name where one fits."""
    if low <= NO_MIN and high >= NO_MAX:
        return x
    if low == 0 and high >= NO_MAX:
        return to.emit("relu", x=x)
    if low == 0 and high == 6:
        return to.emit("relu6", x=x)
    return to.emit("clip", x=x, alpha=float(low), beta=float(high))


def gelu(to: Forms, x: Any) -> Any:
    """x times the normal distribution's share below x."""
    return to.emit("gelu", x=x, mode="EXACT")


def _plain(node: ir.Node, to: Forms) -> list[Any]:
    return [to.plain(value) for value in node.inputs]


def _own_conv(node: ir.Node, to: Forms, x: Any, weight: Any, bias: Any) -> Any:
    """With the attributes of the node."""
    how = {key: attribute(node, key) or () for key in ("strides", "pads", "dilations")}
    return conv(to, x, weight, bias, **how, group=attribute(node, "group", 1))


def _bounded(node: ir.Node, to: Forms, x: Any) -> Any:
    return clamp(to, x, attribute(node, "min"), attribute(node, "max"))


def fused_conv(node: ir.Node, to: Forms) -> None:
    """conv -> clamp"""
    x, weight, bias = _plain(node, to)
    to.set(node.outputs[0], _bounded(node, to, _own_conv(node, to, x, weight, bias)))


def fused_conv_add(node: ir.Node, to: Forms) -> None:
    """conv -> add r -> clamp"""
    x, weight, bias, residual = _plain(node, to)
    total = to.emit("add", x=_own_conv(node, to, x, weight, bias), y=residual)
    to.set(node.outputs[0], _bounded(node, to, total))


def fused_conv_gelu(node: ir.Node, to: Forms) -> None:
    """conv -> gelu"""
    x, weight, bias = _plain(node, to)
    to.set(node.outputs[0], gelu(to, _own_conv(node, to, x, weight, bias)))


def feed_forward(node: ir.Node, to: Forms) -> None:
    """x + conv(clamp(conv x))"""
    x, w1, b1, w2, b2 = _plain(node, to)
    hidden = _bounded(node, to, conv(to, x, w1, b1))
    to.set(node.outputs[0], to.emit("add", x=x, y=conv(to, hidden, w2, b2)))


def squeeze(to: Forms, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """x times gates made from its means."""
    mean = to.emit("reduce_mean", x=x, axes=[2, 3], keep_dims=True)
    hidden = to.emit("relu", x=conv(to, mean, w1, b1))
    gates = to.emit("sigmoid", x=conv(to, hidden, w2, b2))
    return to.emit("mul", x=x, y=gates)


def squeeze_excite(node: ir.Node, to: Forms) -> None:
    """mean -> conv -> relu -> conv -> sigmoid -> mul x"""
    to.set(node.outputs[0], squeeze(to, *_plain(node, to)))


def inverted_bottleneck(node: ir.Node, to: Forms) -> None:
    """conv -> clamp -> depthwise -> clamp -> squeeze and excite -> conv"""
    x, w1, b1, wd, bd, s1, c1, s2, c2, w3, b3 = _plain(node, to)
    wide = _bounded(node, to, conv(to, x, w1, b1))
    deep = _bounded(node, to, _own_conv(node, to, wide, wd, bd))
    gated = squeeze(to, deep, s1, c1, s2, c2)
    to.set(node.outputs[0], conv(to, gated, w3, b3))


def pool_linear(node: ir.Node, to: Forms) -> None:
    """mean over the map -> layer"""
    x, weight, bias = _plain(node, to)
    mean = to.emit("reduce_mean", x=x, axes=[2, 3], keep_dims=False)
    to.set(node.outputs[0], to.emit("linear", x=mean, weight=weight, bias=bias))


OPERATORS = {
    "FusedConv": fused_conv,
    "FusedConvAdd": fused_conv_add,
    "FusedConvGelu": fused_conv_gelu,
    "FeedForward": feed_forward,
    "SqueezeExcite": squeeze_excite,
    "InvertedBottleneck": inverted_bottleneck,
    "PoolLinear": pool_linear,
}
