"""How a window slides over the spatial axes: the padding that convolutions and pools share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import Array

Pads = list[tuple[int, int]]


@dataclass(frozen=True)
class Window:
    """A window per spatial axis: its extent in elements (dilation included) and its step."""

    extents: tuple[int, ...]
    strides: tuple[int, ...]


def spatial_ints(call: Call, name: str, axes: int) -> tuple[int, ...]:
    """The input `name` with one integer per spatial axis; all ones where it is absent."""
    values = tuple(call.ints(name, (1,) * axes))
    if len(values) != axes:
        raise ValueError(f"'{name}' has {len(values)} values for {axes} spatial axes")
    return values


def custom_pads(call: Call, axes: int) -> Pads:
    """The input `pad` as (before, after) per spatial axis; zeros where it is absent."""
    values = list(call.ints("pad", (0,) * (2 * axes)))
    if len(values) != 2 * axes:
        raise ValueError(f"'pad' has {len(values)} values for {axes} spatial axes")
    return list(zip(values[::2], values[1::2], strict=True))


def window_pads(call: Call, sizes: Sequence[int], window: Window) -> Pads:
    """(before, after) per spatial axis for inputs of `sizes`, by the input `pad_type`."""
    kind = call.text("pad_type", "valid").lower()
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    if kind == "custom":
        return custom_pads(call, len(sizes))
    if kind not in ("same", "same_lower"):
        raise ValueError(f"unknown pad_type '{kind}'")
    totals = [
        max(0, (-(-size // stride) - 1) * stride + extent - size)
        for size, extent, stride in zip(sizes, window.extents, window.strides, strict=True)
    ]
    # An odd total puts its extra element after the input, except for same_lower.
    upper = kind == "same"
    return [(t // 2, t - t // 2) if upper else (t - t // 2, t // 2) for t in totals]


def pad_spatial(x: Array, pads: Pads, value: float = 0.0) -> Array:
    """`x` with its trailing axes extended by `pads`; float32, contiguous."""
    if not any(map(any, pads)):
        return np.ascontiguousarray(x, dtype=np.float32)
    lead = [(0, 0)] * (x.ndim - len(pads))
    padded: Array = np.pad(x, lead + pads, constant_values=value)
    return np.ascontiguousarray(padded, dtype=np.float32)
