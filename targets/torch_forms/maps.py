"""Convolutions and blocks of several, on maps [B,C,H,W]."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnc.targets.torch_forms.common import How, bounded, conv
from attnc.targets.torch_forms.linear import gelu, layer
from attnc.targets.torch_forms.operands import Operand, arrays

_GEOMETRY = ("strides", "pads", "dilations", "group")


def _own_conv(how: How, x: Any, weight: Any, bias: Any) -> Any:
    """With the attributes of the node."""
    return conv(x, weight, bias, **{key: how[key] for key in _GEOMETRY if key in how})


def fused_conv(how: How, x: Any, weight: Any, bias: Any) -> Any:
    """conv -> clamp"""
    return bounded(how, _own_conv(how, x, weight, bias))


def fused_conv_add(how: How, x: Any, weight: Any, bias: Any, residual: Any) -> Any:
    """conv -> add r -> clamp"""
    return bounded(how, _own_conv(how, x, weight, bias) + residual)


def fused_conv_gelu(how: How, x: Any, weight: Any, bias: Any) -> Any:
    """conv -> gelu"""
    return gelu(_own_conv(how, x, weight, bias))


def feed_forward(how: How, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """x + conv(clamp(conv x))"""
    return x + conv(bounded(how, conv(x, w1, b1)), w2, b2)


def squeeze(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """x times gates made from its means."""
    hidden = conv(x.mean((2, 3), keepdim=True), w1, b1).relu()
    return x * conv(hidden, w2, b2).sigmoid()


def squeeze_excite(how: How, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """mean -> conv -> relu -> conv -> sigmoid -> mul x"""
    return squeeze(x, w1, b1, w2, b2)


def inverted_bottleneck(how: How, x: Any, *parts: Any) -> Any:
    """conv -> clamp -> depthwise -> clamp -> squeeze and excite -> conv"""
    w1, b1, wd, bd, s1, c1, s2, c2, w3, b3 = parts
    wide = bounded(how, conv(x, w1, b1))
    deep = bounded(how, _own_conv(how, wide, wd, bd))
    return conv(squeeze(deep, s1, c1, s2, c2), w3, b3)


def pool_linear(how: How, x: Any, weight: Any, bias: Any) -> Any:
    """mean over the map -> layer"""
    return layer(x.mean((2, 3), keepdim=True).flatten(1), weight, bias)


def single_head_operands(node: Any) -> list[Operand]:
    """The norm's scale and shift, and the scores' scale, in the first convolution's weights."""
    x, *rest = node.inputs
    gamma, beta, kernel, bias, wproj, bproj = (
        np.asarray(array, np.float64) for array in arrays(node, rest)
    )
    bias = bias + kernel[:, :, 0, 0] @ beta
    kernel = kernel * gamma.reshape(1, -1, 1, 1)
    queries = node.attributes["dim_qk"].value
    kernel[:queries] *= node.attributes["scale"].value
    bias[:queries] *= node.attributes["scale"].value
    return [x, *(part.astype(np.float32) for part in (kernel, bias, wproj, bproj))]


def single_head_attention(how: How, x: Any, wqkv: Any, bqkv: Any, wproj: Any, bproj: Any) -> Any:
    """x + proj(clamp(concat(attention(norm x[:v]), x[v:]))), scaled in the weights"""
    import torch
    import torch.nn.functional as F

    width, dim = how["dim_v"], how["dim_qk"]
    passed = x.shape[1] - width
    mixed = x.narrow(1, 0, width) if passed else x
    qkv = conv(F.layer_norm(mixed, mixed.shape[1:], eps=how["epsilon"]), wqkv, bqkv).flatten(2)
    q, k, v = qkv.split([dim, dim, width], 1)
    shares = q.transpose(1, 2).bmm(k).softmax(-1)
    out = v.bmm(shares.transpose(1, 2)).reshape(mixed.shape)
    whole = torch.cat([out, x.narrow(1, width, passed)], 1) if passed else out
    return x + conv(bounded(how, whole), wproj, bproj)


FORMS = {
    "FusedConv": fused_conv,
    "FusedConvAdd": fused_conv_add,
    "FusedConvGelu": fused_conv_gelu,
    "FeedForward": feed_forward,
    "SqueezeExcite": squeeze_excite,
    "InvertedBottleneck": inverted_bottleneck,
    "PoolLinear": pool_linear,
    "SingleHeadAttention": single_head_attention,
}
OPERANDS = {"SingleHeadAttention": single_head_operands}
