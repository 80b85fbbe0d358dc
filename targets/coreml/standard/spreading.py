"""Values broadcast to larger shapes, a batch that is known only when the model runs among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.cuts import cut
from attnc.targets.coreml.standard.values import as_kind, kind_of, number
from attnc.targets.coreml.writer import FREE, is_var, sizes


def spread(to: Forms, x: Any, wanted: Sequence[int]) -> Any:
    """x broadcast to a shape; itself if it has that already."""
    have, wanted = list(sizes(x)), list(wanted)
    if have == wanted:
        return x
    if FREE in wanted and FREE not in have:
        axis = wanted.index(FREE)
        whole = spread(to, x, [*wanted[:axis], 1, *wanted[axis + 1 :]])
        return _repeated(to, whole, axis)
    if not is_var(x):
        return np.broadcast_to(x, wanted)
    lined = to.reshape(x, [1] * (len(wanted) - len(have)) + have)
    reps = [new // old for new, old in zip(wanted, sizes(lined), strict=True)]
    return lined if set(reps) <= {1} else to.emit("tile", x=lined, reps=reps)


def _repeated(to: Forms, x: Any, axis: int) -> Any:
    """x once for each picture along an axis of one entry: a sum with zeros of the input's batch."""
    if kind_of(x) == "bool":
        return as_kind(to, _repeated(to, as_kind(to, x, "int"), axis), "bool")
    shape = [1] * len(sizes(x))
    shape[axis] = FREE
    zeros = as_kind(to, to.reshape(_zeros(to), shape), kind_of(x))
    key = x if is_var(x) else (x.dtype.str, x.shape, x.tobytes())
    return to.once(("repeated", key, axis), "add", x=zeros, y=x)


def _zeros(to: Forms) -> Any:
    """A zero for each picture, [B,1,...] with as many axes as the program's input."""
    x = to.source
    bounds = [(0, FREE, 1), *((0, 1, 1) for _ in sizes(x)[1:])]
    return to.remember("zeros", lambda: to.emit("mul", x=cut(to, x, bounds), y=number(x, 0)))


def joint(*shapes: Sequence[int]) -> list[int]:
    """The shape that values of these shapes broadcast to."""
    rank = max(map(len, shapes))
    lined = [[1] * (rank - len(shape)) + list(shape) for shape in shapes]
    return [next((size for size in column if size != 1), 1) for column in zip(*lined, strict=True)]
