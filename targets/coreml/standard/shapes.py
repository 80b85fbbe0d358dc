"""Values in other shapes: reshaped, turned, repeated, joined, cut and padded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import attribute, is_op
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.cuts import cut
from attnc.targets.coreml.standard.spreading import spread
from attnc.targets.coreml.standard.values import (
    MOST_AXES,
    check_shape,
    fixed_ints,
    not_free,
    operand,
    settle,
)
from attnc.targets.coreml.writer import FREE, sizes, volume

_RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
#: From here on the end of a slice is that of the axis, however long it is.
_TO_THE_END = np.iinfo(np.int32).max


def _reshape(node: ir.Node, to: Forms) -> None:
    """Into the shape that was inferred, whatever it was computed from."""
    wanted = to.sizes(node.outputs[0])
    x = operand(node, to, 0)
    if len(wanted) > MOST_AXES:
        _hold_flat(node, to, x)
    elif wanted or not sizes(x):
        settle(node, to, to.reshape(x, wanted))
    else:
        settle(node, to, to.emit("squeeze", x=x))


def _hold_flat(node: ir.Node, to: Forms, x: Any) -> None:
    """A value with too many axes for Core ML, in any other shape of the same order.

    Only Transposes and reshapes may read it; they look at the graph's shape and not at this one.
    """
    value = node.outputs[0]
    readers = [use.node for use in value.uses()]
    if value.is_graph_output() or not all(
        is_op(reader, "Transpose", *_RESHAPES) for reader in readers
    ):
        check_shape(node, to.sizes(value))
    to.set(value, x)


def _transpose(node: ir.Node, to: Forms) -> None:
    """Axes that stay together are turned as one, and single ones not at all."""
    before, after = to.sizes(node.inputs[0]), to.sizes(node.outputs[0])
    perm = attribute(node, "perm") or list(reversed(range(len(before))))
    groups = _together(before, perm)
    lined = [volume(before[axis] for axis in group) for group in sorted(groups)]
    places = {group[0]: place for place, group in enumerate(sorted(groups))}
    turned = [places[group[0]] for group in groups]
    x = operand(node, to, 0)
    if turned == sorted(turned):
        made = x
    elif len(before) <= MOST_AXES:
        made = to.emit("transpose", x=x, perm=perm)
    else:
        check_shape(node, lined)
        made = to.emit("transpose", x=to.reshape(x, lined), perm=turned)
    if len(after) > MOST_AXES:
        _hold_flat(node, to, made)
    else:
        settle(node, to, to.reshape(made, after))


def _together(shape: list[int], perm: list[int]) -> list[list[int]]:
    """The axes that are not single in their new order, those that stay neighbours as one group."""
    order = [axis for axis, size in enumerate(shape) if size != 1]
    groups: list[list[int]] = []
    for axis in (axis for axis in perm if shape[axis] != 1):
        last = order.index(groups[-1][-1]) if groups else None
        if last is not None and order[last + 1 : last + 2] == [axis]:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def _expand(node: ir.Node, to: Forms) -> None:
    wanted = to.sizes(node.outputs[0])
    check_shape(node, wanted)
    settle(node, to, spread(to, operand(node, to, 0), wanted))


def _tile(node: ir.Node, to: Forms) -> None:
    x, reps = operand(node, to, 0), fixed_ints(node, 1, "repeats")
    settle(node, to, x if set(reps or [1]) <= {1} else to.emit("tile", x=x, reps=reps))


def _concat(node: ir.Node, to: Forms) -> None:
    parts = [operand(node, to, index) for index in range(len(node.inputs))]
    parts = [part for part in parts if 0 not in sizes(part)]
    axis = attribute(node, "axis")
    settle(node, to, parts[0] if len(parts) == 1 else to.emit("concat", values=parts, axis=axis))


def _split(node: ir.Node, to: Forms) -> None:
    x = operand(node, to, 0)
    axis = attribute(node, "axis", 0) % len(sizes(x))
    not_free(node, sizes(x)[axis])
    counts = [to.sizes(value)[axis] for value in node.outputs]
    if len(counts) == 1:
        parts = (x,)
    elif len(set(counts)) == 1:
        parts = to.emit("split", x=x, axis=axis, num_splits=len(counts))
    else:
        parts = to.emit("split", x=x, axis=axis, split_sizes=counts)
    for index, part in enumerate(parts):
        settle(node, to, part, index)


def _slice(node: ir.Node, to: Forms) -> None:
    """Steps back are a slice forward over the same places, then reversed."""
    x = operand(node, to, 0)
    bounds = [(0, size, 1) for size in sizes(x)]
    backward = []
    for axis, begin, end, step in _slice_arguments(node, len(bounds)):
        if sizes(x)[axis] == FREE and (begin, step) == (0, 1) and end >= _TO_THE_END:
            continue
        not_free(node, sizes(x)[axis])
        places = range(bounds[axis][1])[slice(begin, end, step)]
        if step < 0:
            backward.append(axis)
            places = places[::-1]
        bounds[axis] = (places.start, places.stop, places.step)
    made = cut(to, x, bounds)
    settle(node, to, to.emit("reverse", x=made, axes=backward) if backward else made)


def _slice_arguments(node: ir.Node, rank: int) -> list[tuple[int, int, int, int]]:
    """(axis, begin, end, step) per sliced axis."""
    begins = attribute(node, "starts") or fixed_ints(node, 1, "starts") or []
    ends = attribute(node, "ends") or fixed_ints(node, 2, "ends") or []
    axes = attribute(node, "axes") or fixed_ints(node, 3, "axes") or list(range(len(begins)))
    steps = fixed_ints(node, 4, "steps") or [1] * len(begins)
    return list(zip([axis % rank for axis in axes], begins, ends, steps, strict=True))


OPERATORS: dict[str, Callable[[ir.Node, Forms], None]] = {
    "Concat": _concat,
    "Expand": _expand,
    **dict.fromkeys(_RESHAPES, _reshape),
    "Slice": _slice,
    "Split": _split,
    "Tile": _tile,
    "Transpose": _transpose,
}
