"""Gathers and scatters by index.

Up to iOS16 negative indices count from the end; from iOS17 they are out of bounds. What is out
of bounds is refused, also where the package asks for no check: the result would be undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import Array


def _indices(call: Call, sizes: Sequence[int]) -> Array:
    """The input `indices` as int64; `sizes` is the one size they index, or one per last entry."""
    indices = np.asarray(call["indices"], np.int64)
    limits = np.asarray(sizes, np.int64)
    lowest = np.zeros_like(limits) if call.opset >= 17 else -limits
    wrong = (indices < lowest) | (indices >= limits)
    if wrong.any():
        raise ValueError(
            f"index {indices[wrong][0]} is out of bounds for size {list(sizes)} "
            f"in the operation set of iOS {call.opset}"
        )
    return indices


def _gather(call: Call) -> Array:
    x = call["x"]
    axis, batch_dims = call.int("axis", 0) % x.ndim, call.int("batch_dims", 0)
    indices = _indices(call, (x.shape[axis],))
    batch = x.shape[:batch_dims]
    parts = [np.take(x[at], indices[at], axis - batch_dims) for at in np.ndindex(batch)]
    shape = (*x.shape[:axis], *indices.shape[batch_dims:], *x.shape[axis + 1 :])
    return np.stack(parts).reshape(shape)


def _gather_along_axis(call: Call) -> Array:
    x, axis = call["x"], call.int("axis", 0)
    return np.take_along_axis(x, _indices(call, (x.shape[axis],)), axis)


def _gather_nd(call: Call) -> Array:
    x, batch_dims = call["x"], call.int("batch_dims", 0)
    depth = call["indices"].shape[-1]
    indices = _indices(call, x.shape[batch_dims : batch_dims + depth])
    batch = x.shape[:batch_dims]
    parts = [x[at][tuple(np.moveaxis(indices[at], -1, 0))] for at in np.ndindex(batch)]
    return np.stack(parts).reshape(*indices.shape[:-1], *x.shape[batch_dims + depth :])


def _put(target: Array, at: tuple[Array, ...], updates: Array) -> None:
    target[at] = updates


def _divide(target: Array, at: tuple[Array, ...], updates: Array) -> None:
    whole = np.issubdtype(target.dtype, np.integer)
    (np.floor_divide if whole else np.true_divide).at(target, at, updates)


#: Each mode applies the updates one by one, so that a repeated index collects all of its own.
_MODES: dict[str, Callable[[Array, tuple[Array, ...], Array], None]] = {
    "update": _put,
    "add": np.add.at,
    "sub": np.subtract.at,
    "mul": np.multiply.at,
    "div": _divide,
    "max": np.maximum.at,
    "min": np.minimum.at,
}


def _scattered(call: Call, at: tuple[Array, ...]) -> Array:
    """The input `data` with `updates` applied where `at` points."""
    mode = call.text("mode", "add")
    if mode not in _MODES:
        raise ValueError(f"unknown scatter mode '{mode}'")
    result: Array = np.array(call.wide("data"))
    _MODES[mode](result, at, call.wide("updates"))
    return result


def _scatter(call: Call) -> Array:
    data = call["data"]
    axis = call.int("axis", 0) % data.ndim
    lead: tuple[Array, ...] = np.indices(data.shape[:axis], sparse=True)
    indices = _indices(call, (data.shape[axis],))
    # With every axis up to `axis` indexed, the rest of `updates` follows by broadcasting.
    at = [each[..., None] for each in lead] + [indices.reshape(*[1] * axis, -1)]
    return _scattered(call, tuple(at))


def _scatter_along_axis(call: Call) -> Array:
    axis = call.int("axis", 0) % call["data"].ndim
    indices = _indices(call, (call["data"].shape[axis],))
    at: list[Array] = list(np.indices(indices.shape, sparse=True))
    at[axis] = indices
    return _scattered(call, tuple(at))


def _scatter_nd(call: Call) -> Array:
    indices = _indices(call, call["data"].shape[: call["indices"].shape[-1]])
    return _scattered(call, tuple(np.moveaxis(indices, -1, 0)))


OPERATIONS = {
    "gather": _gather,
    "gather_along_axis": _gather_along_axis,
    "gather_nd": _gather_nd,
    "scatter": _scatter,
    "scatter_along_axis": _scatter_along_axis,
    "scatter_nd": _scatter_nd,
}
