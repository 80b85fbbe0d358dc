"""Tensors made, joined, split, padded and sorted."""

from __future__ import annotations

import math

import numpy as np

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import Array


def _band_part(call: Call) -> Array:
    x = call["x"]
    lower, upper = call.int("lower", -1), call.int("upper", -1)
    row, column = np.indices(x.shape[-2:], sparse=True)
    below, above = row - column, column - row
    kept = ((lower < 0) | (below <= lower)) & ((upper < 0) | (above <= upper))
    return np.where(kept, x, np.zeros((), x.dtype))


def _cumsum(call: Call) -> Array:
    x, axis = call.wide("x"), call.int("axis", 0)
    if call.flag("reverse", False):
        x = np.flip(x, axis)
    sums = np.cumsum(x, axis, dtype=x.dtype)
    if call.flag("exclusive", False):
        sums = sums - x if x.dtype.kind in "iu" else _shifted(sums, axis)
    return np.flip(sums, axis) if call.flag("reverse", False) else sums


def _shifted(sums: Array, axis: int) -> Array:
    """One step later along `axis`, beginning with zero; subtraction would round."""
    moved = np.roll(sums, 1, axis)
    np.moveaxis(moved, axis, 0)[0] = 0
    return moved


def _fill(call: Call) -> Array:
    return np.full(call.ints("shape"), call.get("value", np.float32(0)))


def _fill_like(call: Call) -> Array:
    return np.full(call["ref_tensor"].shape, call.get("value", np.float32(0)))


def _shape(call: Call) -> Array:
    return np.array(call["x"].shape, np.int32)


def _range_1d(call: Call) -> Array:
    start, end, step = (call.wide(name) for name in ("start", "end", "step"))
    count = max(0, math.ceil((float(end) - float(start)) / float(step)))
    return np.asarray(start + np.arange(count, dtype=start.dtype) * step)


def _non_zero(call: Call) -> Array:
    return np.argwhere(call["x"]).astype(np.int32)


def _one_hot(call: Call) -> Array:
    indices, axis = call["indices"], call.int("axis", -1)
    on = np.asarray(call.get("on_value", np.int32(1)))
    off = np.asarray(call.get("off_value", np.int32(0)))
    classes = np.arange(call.int("one_hot_vector_size"))
    hot = indices[..., None] == classes
    return np.moveaxis(np.where(hot, on, off), -1, axis)


def _pad(call: Call) -> Array:
    x, mode = call["x"], call.text("mode", "constant")
    amounts = np.reshape(call.ints("pad"), (-1, 2))
    widths = [(0, 0)] * (x.ndim - len(amounts)) + [(int(b), int(a)) for b, a in amounts]
    if mode == "constant":
        return np.pad(x, widths, constant_values=call.number("constant_val", 0.0))
    if mode == "reflect":
        return np.pad(x, widths, mode="reflect")
    if mode == "replicate":
        return np.pad(x, widths, mode="edge")
    raise ValueError(f"unknown pad mode '{mode}'")


def _tile(call: Call) -> Array:
    return np.tile(call["x"], call.ints("reps"))


def _flatten2d(call: Call) -> Array:
    x, axis = call["x"], call.int("axis", 1)
    return np.asarray(x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _concat(call: Call) -> Array:
    values = [np.atleast_1d(value) for value in call["values"]]
    axis = call.int("axis")
    if not call.flag("interleave", False):
        return np.concatenate(values, axis)
    axis %= values[0].ndim
    shape = list(values[0].shape)
    shape[axis] *= len(values)
    return np.stack(values, axis + 1).reshape(shape)


def _split(call: Call) -> tuple[Array, ...]:
    x, axis = call["x"], call.int("axis")
    if call.get("split_sizes") is None:
        return tuple(np.split(x, call.int("num_splits"), axis))
    return tuple(np.split(x, np.cumsum(call.ints("split_sizes"))[:-1], axis))


def _stack(call: Call) -> Array:
    return np.stack(call["values"], call.int("axis"))


def _order(call: Call, axis: int) -> Array:
    """Indices that sort `x` along `axis`, descending by default; equals keep their order."""
    x = call.wide("x")
    keys = x if x.dtype == np.float32 else x.astype(np.int64)
    return np.argsort(keys if call.flag("ascending", False) else -keys, axis, kind="stable")


def _argsort(call: Call) -> Array:
    return _order(call, call.int("axis", -1)).astype(np.int32)


def _topk(call: Call) -> Array | tuple[Array, ...]:
    x, axis, k = call["x"], call.int("axis", -1), call.int("k", 1)
    order = _order(call, axis)
    best = np.take(order, range(x.shape[axis] if k == -1 else k), axis)
    values = np.take_along_axis(x, best, axis)
    if not call.flag("return_indices", True):
        return values
    return values, best.astype(call.text("output_indices_dtype", "int32"))


OPERATIONS = {
    "argsort": _argsort,
    "band_part": _band_part,
    "concat": _concat,
    "cumsum": _cumsum,
    "fill": _fill,
    "fill_like": _fill_like,
    "flatten2d": _flatten2d,
    "non_zero": _non_zero,
    "one_hot": _one_hot,
    "pad": _pad,
    "range_1d": _range_1d,
    "shape": _shape,
    "split": _split,
    "stack": _stack,
    "tile": _tile,
    "topk": _topk,
}
