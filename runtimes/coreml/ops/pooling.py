"""Average, L2 and maximum pooling over one to three spatial axes."""

from __future__ import annotations

import numpy as np

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.ops.windows import (
    Pads,
    Window,
    pad_spatial,
    spatial_ints,
    window_pads,
)
from attnc.runtimes.coreml.types import Array


def _window(call: Call, axes: int) -> Window:
    return Window(tuple(call.ints("kernel_sizes")), spatial_ints(call, "strides", axes))


def _overhang(size: int, pads: tuple[int, int], extent: int, stride: int) -> int:
    """Elements past the padded input that the last window of ceil mode reaches."""
    padded = size + sum(pads)
    count = -(-(padded - extent) // stride) + 1
    if sum(pads) > 0 and (count - 1) * stride >= size + pads[0]:
        count -= 1
    return max(0, (count - 1) * stride + extent - padded)


def _overhangs(call: Call, sizes: tuple[int, ...], pads: Pads, window: Window) -> Pads:
    if not call.flag("ceil_mode", False):
        return [(0, 0)] * len(sizes)
    parts = zip(sizes, pads, window.extents, window.strides, strict=True)
    return [(0, _overhang(*part)) for part in parts]


def _volume(x: Array, window: Window) -> tuple[Array, tuple[int, ...], tuple[int, ...]]:
    """`x`, window and step with three spatial axes, as torch has pools with them."""
    extra = (1,) * (3 - len(window.extents))
    shape = (*x.shape[:2], *extra, *x.shape[2:])
    return x.reshape(shape), extra + window.extents, extra + window.strides


def _sums(x: Array, window: Window) -> Array:
    import torch

    volume, kernel, strides = _volume(x, window)
    sums = torch.nn.functional.avg_pool3d(
        torch.from_numpy(volume), kernel, strides, divisor_override=1
    ).numpy()
    return sums.reshape(*x.shape[:2], *sums.shape[-len(window.extents) :])


def _avg_pool(call: Call) -> Array:
    x = call.wide("x")
    sizes = x.shape[2:]
    window = _window(call, len(sizes))
    pads = window_pads(call, sizes, window)
    over = _overhangs(call, sizes, pads, window)
    counted = np.ones((1, 1, *sizes), np.float32)
    padding_counts = 0.0 if call.flag("exclude_padding_from_average", False) else 1.0
    # What hangs over the padded input is never counted, as in PyTorch.
    counts = _sums(pad_spatial(pad_spatial(counted, pads, padding_counts), over), window)
    totals = _sums(pad_spatial(pad_spatial(x, pads), over), window)
    return totals / np.maximum(counts, 1)


def _l2_pool(call: Call) -> Array:
    x = call.wide("x")
    sizes = x.shape[2:]
    window = _window(call, len(sizes))
    pads = window_pads(call, sizes, window)
    over = _overhangs(call, sizes, pads, window)
    squares = pad_spatial(pad_spatial(x * x, pads), over)
    return np.sqrt(_sums(squares, window))


def _max_pool(call: Call) -> Array:
    import torch

    x = call.wide("x")
    sizes = x.shape[2:]
    window = _window(call, len(sizes))
    pads = window_pads(call, sizes, window)
    over = _overhangs(call, sizes, pads, window)
    padded = pad_spatial(pad_spatial(x, pads, -np.inf), over, -np.inf)
    volume, kernel, strides = _volume(padded, window)
    best = torch.nn.functional.max_pool3d(torch.from_numpy(volume), kernel, strides).numpy()
    return best.reshape(*x.shape[:2], *best.shape[-len(sizes) :])


OPERATIONS = {"avg_pool": _avg_pool, "l2_pool": _l2_pool, "max_pool": _max_pool}
