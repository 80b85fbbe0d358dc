"""Parts of a value along its axes: a slice wherever the places are evenly spaced."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.values import as_kind, kind_of
from attnc.targets.coreml.writer import FREE, is_var, sizes

#: Per axis first, end and step, as `slice` has them; every step is positive.
Bounds = list[tuple[int, int, int]]


def cut(to: Forms, x: Any, bounds: Bounds, dropped: int | None = None) -> Any:
    """x[first:end:step, ...]; itself where that is all. The axis `dropped` has one place left.

    Of a free batch all is taken: its bounds are (0, FREE, 1).
    """
    if not is_var(x):
        part = x[tuple(slice(*bound) for bound in bounds)]
        return part if dropped is None else part.squeeze(dropped)
    have = sizes(x)
    pairs = zip(bounds, have, strict=True)
    if all(bound[1] == size == FREE or len(range(*bound)) == size for bound, size in pairs):
        return x if dropped is None else to.reshape(x, _without(have, dropped))
    begin, end, stride = (list(side) for side in zip(*bounds, strict=True))
    mask = None if dropped is None else [axis == dropped for axis in range(len(have))]
    free = [last == FREE for last in end] if FREE in end else None
    return to.emit(
        "slice_by_index",
        x=x,
        begin=begin,
        end=[0 if last == FREE else last for last in end],
        stride=stride if max(stride) > 1 else None,
        begin_mask=free,
        end_mask=free,
        squeeze_mask=mask,
    )


def cut_axis(to: Forms, x: Any, axis: int, first: int, end: int, step: int = 1) -> Any:
    """`cut` along one axis."""
    bounds = [(0, size, 1) for size in sizes(x)]
    bounds[axis] = (first, end, step)
    return cut(to, x, bounds)


def pick(to: Forms, x: Any, axis: int, places: list[int]) -> Any:
    """x at these places of an axis, which are not negative, in this order."""
    if not is_var(x):
        return np.take(x, places, axis)
    steps = set(np.diff(places).tolist()) or {1}
    step = steps.pop()
    if steps or step == 0:
        return gather(to, x, np.array(places, np.int32), axis)
    part = cut_axis(to, x, axis, min(places), max(places) + 1, abs(step))
    return part if step > 0 else to.emit("reverse", x=part, axes=[axis])


def gather(to: Forms, x: Any, places: Any, axis: int) -> Any:
    """x at constant or computed places; truths go there and back as integers."""
    source = as_kind(to, x, "int") if kind_of(x) == "bool" else x
    found = to.emit("gather", x=source, indices=places, axis=axis)
    return as_kind(to, found, kind_of(x))


def _without(shape: tuple[int, ...], axis: int) -> list[int]:
    return [size for place, size in enumerate(shape) if place != axis]
