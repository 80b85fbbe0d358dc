"""Convolutions and their transposes; torch does the products, in float32."""

from __future__ import annotations

import numpy as np

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.ops.windows import (
    Pads,
    Window,
    custom_pads,
    pad_spatial,
    spatial_ints,
    window_pads,
)
from attnc.runtimes.coreml.types import Array


def _add_bias(call: Call, y: Array) -> Array:
    bias = call.wide("bias") if call.get("bias") is not None else None
    return y if bias is None else y + bias.reshape(1, -1, *[1] * (y.ndim - 2))


def _window(weight: Array, strides: tuple[int, ...], dilations: tuple[int, ...]) -> Window:
    kernel = weight.shape[2:]
    extents = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    return Window(extents, strides)


def _conv(call: Call) -> Array:
    import torch

    x, weight = call.wide("x"), call.wide("weight")
    axes = x.ndim - 2
    strides, dilations = spatial_ints(call, "strides", axes), spatial_ints(call, "dilations", axes)
    pads = window_pads(call, x.shape[2:], _window(weight, strides, dilations))
    y = torch.convolution(
        torch.from_numpy(pad_spatial(x, pads)),
        torch.from_numpy(np.ascontiguousarray(weight)),
        None,
        strides,
        [0] * axes,
        dilations,
        False,
        [0] * axes,
        call.int("groups", 1),
    )
    return _add_bias(call, y.numpy())


def _transpose_trims(call: Call, full: tuple[int, ...], window: Window) -> Pads:
    """Elements to remove before and after each axis of the full result; negative ones are added.

    `output_shape` fixes the size and leaves to the padding where the result begins.
    """
    sizes = call.ints("output_shape", ())[2:]
    kind = call.text("pad_type", "valid").lower()
    if kind not in ("valid", "same", "custom"):
        raise ValueError(f"unknown pad_type '{kind}'")
    pads = custom_pads(call, len(full)) if kind == "custom" else [(0, 0)] * len(full)
    trims: Pads = []
    for axis, length in enumerate(full):
        before, after = pads[axis]
        if kind == "same":
            steps = (length - window.extents[axis]) // window.strides[axis] + 1
            excess = length - (sizes[axis] if sizes else steps * window.strides[axis])
            before, after = max(excess, 0) // 2, excess - max(excess, 0) // 2
        elif sizes:
            after = length - before - sizes[axis]
        trims.append((before, after))
    return trims


def _trim(y: Array, trims: Pads) -> Array:
    grown = pad_spatial(y, [(max(-before, 0), max(-after, 0)) for before, after in trims])
    spatial = zip(trims, grown.shape[2:], strict=True)
    cuts = [slice(max(before, 0), size - max(after, 0)) for (before, after), size in spatial]
    return grown[(slice(None), slice(None), *cuts)]


def _conv_transpose(call: Call) -> Array:
    import torch

    x, weight = call.wide("x"), call.wide("weight")
    axes = x.ndim - 2
    strides, dilations = spatial_ints(call, "strides", axes), spatial_ints(call, "dilations", axes)
    y = torch.convolution(
        torch.from_numpy(np.ascontiguousarray(x)),
        torch.from_numpy(np.ascontiguousarray(weight)),
        None,
        strides,
        [0] * axes,
        dilations,
        True,
        [0] * axes,
        call.int("groups", 1),
    ).numpy()
    trims = _transpose_trims(call, y.shape[2:], _window(weight, strides, dilations))
    return _add_bias(call, _trim(y, trims))


OPERATIONS = {"conv": _conv, "conv_transpose": _conv_transpose}
