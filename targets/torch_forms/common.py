"""What several forms share: bounds, products over the last axis, heads, pictures' own rows.

Written for converters of mobile runtimes: at most four axes, no scatter, explicit products around
a softmax, since a fused attention is cut apart again by them, less well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attnc.compiler.ops.base import NO_MAX, NO_MIN

How = Mapping[str, Any]


def clamp(x: Any, low: float, high: float) -> Any:
    """x within the bounds, by the activation that has a name where one fits."""
    import torch.nn.functional as F

    if low <= NO_MIN and high >= NO_MAX:
        return x
    if low == 0 and high >= NO_MAX:
        return F.relu(x)
    if low == 0 and high == 6:
        return F.relu6(x)
    return x.clamp(None if low <= NO_MIN else low, None if high >= NO_MAX else high)


def bounded(how: How, x: Any) -> Any:
    """x within the bounds that the node has as attributes."""
    return clamp(x, how["min"], how["max"])


def conv(
    x: Any,
    weight: Any,
    bias: Any = None,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    group: int = 1,
) -> Any:
    """A convolution over one or two axes; `pads` in ONNX's order, all begins, then all ends."""
    import torch.nn.functional as F

    axes = weight.dim() - 2
    pads = list(pads or [0] * (2 * axes))
    begins, ends = pads[:axes], pads[axes:]
    if begins != ends:
        both = [size for i in reversed(range(axes)) for size in (begins[i], ends[i])]
        x, begins = F.pad(x, both), [0] * axes
    run = F.conv2d if axes == 2 else F.conv1d
    steps, spread = list(strides or [1] * axes), list(dilations or [1] * axes)
    return run(x, weight, bias, steps, begins, spread, group)


def heads(x: Any, at: int, count: int, width: int) -> Any:
    """[B,h,N,d] of the channels from `at` on, x [B,N,C]."""
    batch, rows, channels = x.shape
    if count * width != channels:
        x = x.narrow(2, at, count * width)
    return x.reshape(batch, rows, count, width).permute(0, 2, 1, 3)


def attend(q: Any, k: Any, v: Any, scale: float) -> Any:
    """[B,h,M,d]: softmax of the scaled scores times the values, heads [B,h,.,.]."""
    return product(weights(q, k, scale), v)


def weights(q: Any, k: Any, scale: float) -> Any:
    """[B,h,M,N]: the softmax of the scaled scores."""
    return product(q * scale, k.transpose(2, 3)).softmax(-1)


def product(a: Any, b: Any) -> Any:
    """[B,h,M,N] of [B,h,M,K] and [B,h,K,N], or [B,M,N] alike: `matmul` makes copies of both."""
    if a.dim() == 3:
        return a.bmm(b) if a.shape[0] == b.shape[0] else a.matmul(b)
    batch, count, rows, _ = a.shape
    return a.flatten(0, 1).bmm(b.flatten(0, 1)).reshape(batch, count, rows, b.shape[3])


def joined(x: Any) -> Any:
    """Heads [B,h,N,d] as channels [B,N,h*d]."""
    batch, count, rows, width = x.shape
    return x.permute(0, 2, 1, 3).reshape(batch, rows, count * width)


def take_rows(x: Any, index: Any) -> Any:
    """[B,K,C]: in each picture its own rows of x [B,N,C]; index [B,K].

    One gather over the rows of all pictures, which every runtime has.
    """
    import torch

    batch, rows, channels = x.shape
    if batch > 1:
        index = index + rows * torch.arange(batch)[:, None]
    found = x.reshape(batch * rows, channels).index_select(0, index.reshape(-1))
    return found.reshape(batch, -1, channels)
