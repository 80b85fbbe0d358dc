"""Float64 NumPy building blocks of the operators' references: plain loops, no cleverness."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops.base import Array


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
) -> Array:
    """Convolution of x [B,C,H,W] with weight [N,C/group,kh,kw]; pads top, left, bottom, right."""
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    top, left, bottom, right = pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    n, _, kh, kw = weight.shape
    height = conv_extent(x.shape[2], kh, strides[0], top + bottom, dilations[0])
    width = conv_extent(x.shape[3], kw, strides[1], left + right, dilations[1])
    grouped = padded.reshape(x.shape[0], group, -1, *padded.shape[2:])
    kernels = weight.reshape(group, n // group, -1, kh, kw)
    out = np.zeros((x.shape[0], group, n // group, height, width))
    for i in range(kh):
        for j in range(kw):
            rows = slice(
                i * dilations[0], i * dilations[0] + (height - 1) * strides[0] + 1, strides[0]
            )
            cols = slice(
                j * dilations[1], j * dilations[1] + (width - 1) * strides[1] + 1, strides[1]
            )
            out += np.einsum("bgchw,gnc->bgnhw", grouped[..., rows, cols], kernels[..., i, j])
    result: Array = out.reshape(x.shape[0], n, height, width)
    return result if bias is None else result + np.asarray(bias, np.float64)[:, None, None]


def conv_extent(extent: int, kernel: int, stride: int, pad: int, dilation: int = 1) -> int:
    """Output height or width of a convolution; `pad` is the sum of both sides."""
    return (extent + pad - dilation * (kernel - 1) - 1) // stride + 1


def softmax(x: Array) -> Array:
    """Softmax over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def layer_norm(x: Array, epsilon: float) -> Array:
    """(x - mean) / sqrt(variance + epsilon) over the last axis, without scale and shift."""
    x = np.asarray(x, np.float64)
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + epsilon))


def gelu(x: Array) -> Array:
    """x times the normal distribution function of x."""
    x = np.asarray(x, np.float64)
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return np.asarray(0.5 * x * (1.0 + erf(x / math.sqrt(2.0))))


def to_nhwc(x: Array) -> Array:
    """[B,C,H,W] to [B,H,W,C]."""
    return np.transpose(x, (0, 2, 3, 1))


def to_nchw(x: Array) -> Array:
    """[B,H,W,C] to [B,C,H,W]."""
    return np.transpose(x, (0, 3, 1, 2))
