"""Pad in each of its modes, and of each type; negative padding cuts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.cuts import cut
from attnc.targets.coreml.standard.spreading import spread
from attnc.targets.coreml.standard.values import (
    fixed_array,
    fixed_ints,
    kind_of,
    not_free,
    operand,
    refusal,
    settle,
)
from attnc.targets.coreml.writer import sizes

_MODES = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}


def _pad(node: ir.Node, to: Forms) -> None:
    x, mode = operand(node, to, 0), attribute(node, "mode", "constant")
    pairs = _pairs(node, len(sizes(x)))
    not_free(node, *(size for size, pair in zip(sizes(x), pairs, strict=True) if any(pair)))
    value = fixed_array(node, to, 2, "value")
    x = _cut(to, x, pairs)
    pairs = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if not any(map(any, pairs)):
        settle(node, to, x)
        return
    if mode == "constant" and kind_of(x) != "float":
        settle(node, to, _joined(to, x, pairs, 0 if value is None else value))
        return
    _check(node, mode, kind_of(x), pairs, sizes(x))
    while pairs[0] == (0, 0):
        pairs.pop(0)
    number = float(value.reshape(())) if value is not None else 0.0
    made = to.emit(
        "pad",
        x=x,
        pad=[side for pair in pairs for side in pair],
        mode=_MODES[mode],
        constant_val=number if mode == "constant" else None,
    )
    settle(node, to, made)


def _pairs(node: ir.Node, rank: int) -> list[tuple[int, int]]:
    """How much before and after each axis."""
    flat = attribute(node, "pads") or fixed_ints(node, 1, "pads") or []
    axes = fixed_ints(node, 3, "axes") or list(range(rank))
    pairs = [(0, 0)] * rank
    for index, axis in enumerate(axes):
        pairs[axis % rank] = (flat[index], flat[index + len(axes)])
    return pairs


def _cut(to: Forms, x: Any, pairs: list[tuple[int, int]]) -> Any:
    bounds = [
        (max(-before, 0), size - max(-after, 0), 1)
        for size, (before, after) in zip(sizes(x), pairs, strict=True)
    ]
    return cut(to, x, bounds)


def _check(
    node: ir.Node, mode: str, kind: str, pairs: list[tuple[int, int]], shape: tuple[int, ...]
) -> None:
    if mode not in _MODES or kind != "float":
        raise refusal(node, f"Core ML has no {mode} padding of {kind}s", "pad floats by a constant")
    if mode == "constant":
        return
    if any(map(any, pairs[:-2])):
        raise refusal(
            node, f"Core ML has {mode} padding on the last two axes only", "turn the axes before it"
        )
    most = {"edge": 0, "reflect": 1}[mode]
    padded = [(max(pair), size) for pair, size in zip(pairs, shape, strict=True) if any(pair)]
    if any(more > size - most for more, size in padded):
        raise refusal(node, f"its {mode} padding is wider than the input", "pad in two steps")


def _joined(to: Forms, x: Any, pairs: list[tuple[int, int]], value: Any) -> Any:
    """Integers and truths, which MIL's pad does not take, between blocks of the value."""
    dtype = np.int32 if kind_of(x) == "int" else np.bool_
    for axis, pair in enumerate(pairs):
        blocks: list[Any] = []
        for size in pair:
            shape = list(sizes(x))
            shape[axis] = size
            blocks.append(spread(to, np.full((), value, dtype), shape))
        parts = [part for part in (blocks[0], x, blocks[1]) if 0 not in sizes(part)]
        x = x if len(parts) == 1 else to.emit("concat", values=parts, axis=axis)
    return x


OPERATORS: dict[str, Callable[[ir.Node, Forms], None]] = {"Pad": _pad}
