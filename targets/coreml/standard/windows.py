"""Convolutions and pools: windows that slide over the spatial axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.values import only_outputs, operand, refusal, settle
from attnc.targets.coreml.writer import is_var, sizes


@dataclass(frozen=True)
class Window:
    """Extents per spatial axis, and how much is added before and after."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]

    @property
    def spans(self) -> list[int]:
        """From the first element that a window reads to its last."""
        pairs = zip(self.kernel, self.dilations, strict=True)
        return [(size - 1) * step + 1 for size, step in pairs]

    def padding(self, more: list[int] | None = None) -> dict[str, Any]:
        """The arguments of MIL, with `more` added after each axis."""
        after = [a + b for a, b in zip(self.after, more or [0] * len(self.after), strict=True)]
        if not any(self.before) and not any(after):
            return {"pad_type": "valid"}
        pairs = zip(self.before, after, strict=True)
        return {"pad_type": "custom", "pad": [side for pair in pairs for side in pair]}


def window(node: ir.Node, shape: list[int], kernel: list[int]) -> Window:
    """The window of a convolution or pool over a spatial shape."""
    ones = [1] * len(kernel)
    strides, dilations = attribute(node, "strides", ones), attribute(node, "dilations", ones)
    before, after = _split(attribute(node, "pads", [0] * (2 * len(kernel))))
    mode = attribute(node, "auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        spans = Window(kernel, strides, dilations, before, after).spans
        totals = [
            max((-(-size // step) - 1) * step + span - size, 0)
            for size, step, span in zip(shape, strides, spans, strict=True)
        ]
        less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
        before, after = (less, more) if mode == "SAME_UPPER" else (more, less)
    return Window(kernel, strides, dilations, before, after)


def _split(pads: list[int]) -> tuple[list[int], list[int]]:
    half = len(pads) // 2
    return pads[:half], pads[half:]


def _conv(node: ir.Node, to: Forms) -> None:
    x, weight, bias = (operand(node, to, index) for index in range(3))
    frame = window(node, list(sizes(x)[2:]), list(sizes(weight)[2:]))
    made = to.emit(
        "conv",
        x=x,
        weight=weight,
        bias=None if is_var(bias) else bias,
        strides=frame.strides,
        dilations=frame.dilations,
        groups=attribute(node, "group", 1),
        **frame.padding(),
    )
    settle(node, to, _with_bias(to, made, bias) if is_var(bias) else made)


def _with_bias(to: Forms, x: Any, bias: Any) -> Any:
    column = to.reshape(bias, [1, sizes(bias)[0], *[1] * (len(sizes(x)) - 2)])
    return to.emit("add", x=x, y=column)


def _conv_transpose(node: ir.Node, to: Forms) -> None:
    """What lies past the full result holds nothing but the bias, which then comes last."""
    x, weight, bias = (operand(node, to, index) for index in range(3))
    kernel, wanted = list(sizes(weight)[2:]), to.sizes(node.outputs[0])
    ones = [1] * len(kernel)
    strides, dilations = attribute(node, "strides", ones), attribute(node, "dilations", ones)
    full = [
        (size - 1) * step + (extent - 1) * gap + 1
        for size, step, extent, gap in zip(sizes(x)[2:], strides, kernel, dilations, strict=True)
    ]
    trims = _trims(node, full, wanted[2:])
    beyond = min(trims) < 0
    made = to.emit(
        "conv_transpose",
        x=x,
        weight=weight,
        bias=None if is_var(bias) or beyond else bias,
        strides=strides,
        dilations=dilations,
        groups=attribute(node, "group", 1),
        pad_type="custom",
        pad=[max(trim, 0) for trim in trims],
    )
    if beyond:
        made = to.emit("pad", x=made, pad=[max(-trim, 0) for trim in trims], mode="constant")
    late = bias is not None and (is_var(bias) or beyond)
    settle(node, to, _with_bias(to, made, bias) if late else made)


def _trims(node: ir.Node, full: list[int], wanted: list[int]) -> list[int]:
    """Elements to leave out before and after each axis; negative ones are to be added."""
    mode = attribute(node, "auto_pad", "NOTSET")
    before, _ = _split(attribute(node, "pads", [0] * (2 * len(full))))
    if mode.startswith("SAME") or attribute(node, "output_shape"):
        upper = mode == "SAME_UPPER"
        extra = attribute(node, "output_padding", [0] * len(full))
        totals = [f + e - w for f, e, w in zip(full, extra, wanted, strict=True)]
        before = [max(t, 0) // 2 if upper else max(t, 0) - max(t, 0) // 2 for t in totals]
    trims = zip(full, wanted, before, strict=True)
    return [side for size, want, first in trims for side in (first, size - want - first)]


def _pool_window(node: ir.Node, shape: tuple[int, ...]) -> tuple[Window, list[int]]:
    """The window, and how far the last of ceil mode hangs over the padded input."""
    frame = window(node, list(shape), attribute(node, "kernel_shape"))
    if set(frame.dilations) != {1}:
        raise refusal(node, "Core ML has no pools with dilations", "use a pool without them")
    if not attribute(node, "ceil_mode", 0):
        return frame, [0] * len(shape)
    parts = zip(shape, frame.before, frame.after, frame.kernel, frame.strides, strict=True)
    return frame, [_overhang(*part) for part in parts]


def _overhang(size: int, before: int, after: int, kernel: int, stride: int) -> int:
    """A window that would begin in the padding after the input is left out."""
    padded = size + before + after
    last = -(-(padded - kernel) // stride) * stride
    last -= stride if last >= size + before else 0
    return max(last + kernel - padded, 0)


def _max_pool(node: ir.Node, to: Forms) -> None:
    """What hangs over counts as padding, which never is the largest."""
    only_outputs(node, 1)
    x = operand(node, to, 0)
    frame, over = _pool_window(node, sizes(x)[2:])
    settle(node, to, _pool(to, "max_pool", x, frame, frame.padding(over)))


def _average_pool(node: ir.Node, to: Forms) -> None:
    """Core ML's ceil mode is needed only where padding counts and what hangs over does not."""
    x = operand(node, to, 0)
    frame, over = _pool_window(node, sizes(x)[2:])
    padded = any(frame.before) or any(frame.after)
    counted = padded and bool(attribute(node, "count_include_pad", 0))
    arguments = {"exclude_padding_from_average": not counted}
    if not (counted and any(over)):
        settle(node, to, _pool(to, "avg_pool", x, frame, frame.padding(over) | arguments))
        return
    if frame.before != frame.after:
        raise refusal(
            node,
            "Core ML rounds sizes up only where both sides are padded alike",
            "pad with a Pad before the pool",
        )
    settle(node, to, _pool(to, "avg_pool", x, frame, frame.padding() | arguments, ceil_mode=True))


def _lp_pool(node: ir.Node, to: Forms) -> None:
    x, p = operand(node, to, 0), attribute(node, "p", 2)
    frame, over = _pool_window(node, sizes(x)[2:])
    if p == 2:
        settle(node, to, _pool(to, "l2_pool", x, frame, frame.padding(over)))
        return
    if p != 1:
        raise refusal(node, f"Core ML has no pool with the norm {p}", "use p=1 or p=2")
    padding = frame.padding(over) | {"exclude_padding_from_average": False}
    mean = _pool(to, "avg_pool", to.emit("abs", x=x), frame, padding)
    settle(node, to, to.emit("mul", x=mean, y=float(np.prod(frame.kernel))))


def _pool(
    to: Forms, kind: str, x: Any, frame: Window, arguments: dict[str, Any], ceil_mode: bool = False
) -> Any:
    return to.emit(
        kind,
        x=x,
        kernel_sizes=frame.kernel,
        strides=frame.strides,
        ceil_mode=ceil_mode,
        **arguments,
    )


_GLOBAL = {
    "GlobalAveragePool": "reduce_mean",
    "GlobalMaxPool": "reduce_max",
}


def _global_pool(node: ir.Node, to: Forms) -> None:
    kind = _GLOBAL.get(node.op_type)
    if kind is None:
        kind = {1: "reduce_l1_norm", 2: "reduce_l2_norm"}.get(attribute(node, "p", 2))
    if kind is None:
        raise refusal(node, "Core ML has no such norm", "use p=1 or p=2")
    x = operand(node, to, 0)
    axes = list(range(2, len(sizes(x))))
    settle(node, to, to.emit(kind, x=x, axes=axes, keep_dims=True))


OPERATORS: dict[str, Callable[[ir.Node, Forms], None]] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    **dict.fromkeys((*_GLOBAL, "GlobalLpPool"), _global_pool),
    "LpPool": _lp_pool,
    "MaxPool": _max_pool,
}
