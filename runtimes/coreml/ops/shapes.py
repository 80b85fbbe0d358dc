"""The same elements in another order or shape, and parts of them."""

from __future__ import annotations

import math

import numpy as np

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import Array

Cut = slice | int


def _crop(call: Call) -> Array:
    x = call["x"]
    cuts = []
    for size, name in zip(x.shape[-2:], ("crop_height", "crop_width"), strict=True):
        before, after = call.ints(name)
        cuts.append(slice(before, size - after))
    return np.asarray(x[(..., *cuts)])


def _expand_dims(call: Call) -> Array:
    return np.expand_dims(call["x"], call.ints("axes"))


def _squeeze(call: Call) -> Array:
    x: Array = call["x"]
    axes = {axis % x.ndim for axis in call.ints("axes", range(x.ndim))}
    return np.squeeze(x, axis=tuple(axis for axis in axes if x.shape[axis] == 1))


def _wanted_shape(call: Call, have: tuple[int, ...]) -> list[int]:
    """The input `shape` with its zeros replaced by sizes of `have`."""
    want = list(call.ints("shape"))
    if 0 not in want:
        return want
    if call.opset < 17 and len(want) != len(have):
        raise ValueError(f"reshape of {list(have)} to {want}: a 0 needs shapes of equal rank")
    # From iOS17 on, shapes of unequal rank are aligned at their last axis.
    aligned = (1,) * (len(want) - len(have)) + have[max(0, len(have) - len(want)) :]
    return [old if new == 0 else new for new, old in zip(want, aligned, strict=True)]


def _reshape(call: Call) -> Array:
    x = call["x"]
    want = _wanted_shape(call, x.shape)
    known = math.prod(size for size in want if size != -1)
    if want.count(-1) > 1 or (math.prod(want) != x.size if -1 not in want else x.size % known):
        raise ValueError(f"{list(x.shape)} does not reshape to {want}")
    return np.reshape(x, want)


def _reshape_like(call: Call) -> Array:
    shape: list[int] = []
    names = ("ref_tensors", "begins", "ends", "end_masks")
    for reference, begin, end, to_the_end in zip(*(call[name] for name in names), strict=True):
        shape += reference.shape[int(begin) : None if to_the_end else int(end)]
    return np.reshape(call["x"], shape)


def _reverse(call: Call) -> Array:
    return np.flip(call["x"], call.ints("axes", range(call["x"].ndim)))


def _reverse_sequence(call: Call) -> Array:
    x, lengths = call["x"], call.ints("lengths")
    axes = (call.int("batch_axis", 0), call.int("seq_axis", 0))
    result = np.array(x)
    rows, reversed_rows = np.moveaxis(x, axes, (0, 1)), np.moveaxis(result, axes, (0, 1))
    for row, length in enumerate(lengths):
        reversed_rows[row, :length] = rows[row, :length][::-1]
    return result


def _slices(call: Call) -> tuple[Cut, ...]:
    """What slice_by_index takes from each axis; Python's rules for negatives and for overruns."""
    rank = call["x"].ndim
    begins, ends = call.ints("begin"), call.ints("end")
    strides = call.ints("stride", (1,) * rank)
    masks = [call.ints(f"{name}_mask", (0,) * rank) for name in ("begin", "end", "squeeze")]
    cuts: list[Cut] = []
    for begin, end, stride, to_start, to_end, pick in zip(
        begins, ends, strides, *masks, strict=True
    ):
        first, last = None if to_start else begin, None if to_end else end
        cuts.append((first or 0) if pick else slice(first, last, stride))
    return tuple(cuts)


def _slice_by_index(call: Call) -> Array:
    return np.asarray(call["x"][_slices(call)])


def _slice_update(call: Call) -> Array:
    result: Array = np.array(call["x"])
    cuts = _slices(call)
    result[cuts] = call["update"].reshape(result[cuts].shape)
    return result


def _slice_by_size(call: Call) -> Array:
    x = call["x"]
    cuts = []
    for size, begin, count in zip(x.shape, call.ints("begin"), call.ints("size"), strict=True):
        first = begin + size if begin < 0 else begin
        cuts.append(slice(first, size if count == -1 else first + count))
    return np.asarray(x[tuple(cuts)])


def _sliding_windows(call: Call) -> Array:
    x, size = call["x"], call.int("size")
    axis = call.int("axis") % x.ndim
    starts = np.arange(0, x.shape[axis] - size + 1, call.int("stride", 1))
    return np.asarray(np.take(x, starts[:, None] + np.arange(size), axis))


def _transpose(call: Call) -> Array:
    return np.transpose(call["x"], call.ints("perm"))


def _depth_to_space(call: Call) -> Array:
    x, b = call["x"], call.int("block_size")
    n, c, h, w = x.shape
    blocks = x.reshape(n, b, b, c // (b * b), h, w).transpose(0, 3, 4, 1, 5, 2)
    return np.asarray(blocks.reshape(n, c // (b * b), h * b, w * b))


def _space_to_depth(call: Call) -> Array:
    x, b = call["x"], call.int("block_size")
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
    return np.asarray(blocks.reshape(n, c * b * b, h // b, w // b))


def _pixel_shuffle(call: Call) -> Array:
    x, f = call["x"], call.int("upscale_factor")
    n, c, h, w = x.shape
    blocks = x.reshape(n, c // (f * f), f, f, h, w).transpose(0, 1, 4, 2, 5, 3)
    return np.asarray(blocks.reshape(n, c // (f * f), h * f, w * f))


def _pixel_unshuffle(call: Call) -> Array:
    x, f = call["x"], call.int("downscale_factor")
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // f, f, w // f, f).transpose(0, 1, 3, 5, 2, 4)
    return np.asarray(blocks.reshape(n, c * f * f, h // f, w // f))


def _space_to_batch(call: Call) -> Array:
    rows, columns = call.ints("block_shape")
    top, bottom, left, right = call.ints("paddings")
    x = np.pad(call["x"], [(0, 0), (0, 0), (top, bottom), (left, right)])
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // rows, rows, w // columns, columns).transpose(3, 5, 0, 1, 2, 4)
    return np.asarray(blocks.reshape(-1, c, h // rows, w // columns))


def _batch_to_space(call: Call) -> Array:
    x = call["x"]
    rows, columns = call.ints("block_shape")
    top, bottom, left, right = call.ints("crops")
    n, c, h, w = x.shape
    blocks = x.reshape(rows, columns, -1, c, h, w).transpose(2, 3, 4, 0, 5, 1)
    whole = blocks.reshape(n // (rows * columns), c, h * rows, w * columns)
    return np.asarray(whole[:, :, top : h * rows - bottom, left : w * columns - right])


OPERATIONS = {
    "batch_to_space": _batch_to_space,
    "crop": _crop,
    "depth_to_space": _depth_to_space,
    "expand_dims": _expand_dims,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "reshape": _reshape,
    "reshape_like": _reshape_like,
    "reverse": _reverse,
    "reverse_sequence": _reverse_sequence,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "slice_update": _slice_update,
    "sliding_windows": _sliding_windows,
    "space_to_batch": _space_to_batch,
    "space_to_depth": _space_to_depth,
    "squeeze": _squeeze,
    "transpose": _transpose,
}
