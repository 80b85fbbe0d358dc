"""Gathers and scatters of MIL against element-by-element indexing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mil_programs import (
    Array,
    Case,
    cases,
    check,
    converted,
    integers,
    mb,
    numbers,
    run,
    scalar,
)

from attnc.compiler.errors import UsageError

draw = numbers(71)
whole = integers(72)

X = draw(4, 3, 5)

MODES: dict[str, Callable[[Any, Any], Any]] = {
    "update": lambda old, new: new,
    "add": lambda old, new: old + new,
    "sub": lambda old, new: old - new,
    "mul": lambda old, new: old * new,
    "div": lambda old, new: old / new,
    "max": max,
    "min": min,
}


def gather(x: Array, indices: Array, axis: int, target: str = "iOS16", batch: int = 0) -> Case:
    """Slices of `x` along an axis; the first `batch` dimensions are shared with the indices."""
    along = axis % x.ndim

    def expected(x: Array, indices: Array) -> Array:
        shape = (*x.shape[:along], *indices.shape[batch:], *x.shape[along + 1 :])
        result = np.zeros(shape, x.dtype)
        span = indices.ndim - batch
        for place in np.ndindex(*shape):
            before, inner, after = (
                place[:along],
                place[along : along + span],
                place[along + span :],
            )
            index = int(indices[(*before[:batch], *inner)])
            result[place] = x[(*before, index, *after)]
        return result

    more = {"batch_dims": batch} if batch else {}
    return Case(
        "gather",
        lambda x, i: mb.gather(x=x, indices=i, axis=axis, **more),
        expected,
        (x, indices),
        target=target,
        label=f"axis{axis}-batch{batch}",
    )


def gather_along_axis(x: Array, indices: Array, axis: int, target: str = "iOS16") -> Case:
    """Every output reads its own place, but for the coordinate on the axis."""

    def expected(x: Array, indices: Array) -> Array:
        result = np.zeros(indices.shape, x.dtype)
        for place in np.ndindex(*indices.shape):
            source = list(place)
            source[axis] = int(indices[place])
            result[place] = x[tuple(source)]
        return result

    return Case(
        "gather_along_axis",
        lambda x, i: mb.gather_along_axis(x=x, indices=i, axis=axis),
        expected,
        (x, indices),
        target=target,
        label=f"axis{axis}",
    )


def gather_nd(x: Array, indices: Array, target: str = "iOS16", batch: int = 0) -> Case:
    """The last dimension of the indices addresses the dimensions of `x` after the batch."""

    def expected(x: Array, indices: Array) -> Array:
        depth = indices.shape[-1]
        shape = (*indices.shape[:-1], *x.shape[batch + depth :])
        result = np.zeros(shape, x.dtype)
        for place in np.ndindex(*indices.shape[:-1]):
            result[place] = x[(*place[:batch], *(int(i) for i in indices[place]))]
        return result

    more = {"batch_dims": batch} if batch else {}
    return Case(
        "gather_nd",
        lambda x, i: mb.gather_nd(x=x, indices=i, **more),
        expected,
        (x, indices),
        target=target,
        label=f"batch{batch}",
    )


def scatter(data: Array, indices: Array, updates: Array, axis: int, mode: str) -> Case:
    """Slices along an axis are combined with updates, in order."""
    along = axis % data.ndim

    def expected(data: Array, indices: Array, updates: Array) -> Array:
        result = data.copy()
        for place in np.ndindex(*updates.shape):
            goal = (*place[:along], int(indices[place[along]]), *place[along + 1 :])
            result[goal] = MODES[mode](result[goal], updates[place])
        return result

    return Case(
        "scatter",
        lambda d, i, u: mb.scatter(data=d, indices=i, updates=u, axis=axis, mode=mode),
        expected,
        (data, indices, updates),
        label=f"{mode}-axis{axis}",
    )


def scatter_along_axis(
    data: Array, indices: Array, updates: Array, axis: int, mode: str, target: str = "iOS16"
) -> Case:
    """Every update goes to its own place, but for the coordinate on the axis."""

    def expected(data: Array, indices: Array, updates: Array) -> Array:
        result = data.copy()
        for place in np.ndindex(*updates.shape):
            goal = list(place)
            goal[axis] = int(indices[place])
            result[tuple(goal)] = MODES[mode](result[tuple(goal)], updates[place])
        return result

    return Case(
        "scatter_along_axis",
        lambda d, i, u: mb.scatter_along_axis(data=d, indices=i, updates=u, axis=axis, mode=mode),
        expected,
        (data, indices, updates),
        target=target,
        label=f"{mode}-axis{axis}",
    )


def scatter_nd(
    data: Array, indices: Array, updates: Array, mode: str, target: str = "iOS16"
) -> Case:
    """The last dimension of the indices addresses the leading dimensions of the data."""

    def expected(data: Array, indices: Array, updates: Array) -> Array:
        result = data.copy()
        for place in np.ndindex(*indices.shape[:-1]):
            goal = tuple(int(i) for i in indices[place])
            result[goal] = np.vectorize(MODES[mode])(result[goal], updates[place])
        return result

    return Case(
        "scatter_nd",
        lambda d, i, u: mb.scatter_nd(data=d, indices=i, updates=u, mode=mode),
        expected,
        (data, indices, updates),
        target=target,
        label=mode,
    )


PAIRS = np.array([[0, 2], [3, 1], [0, 2]], np.int32)
ROWS = whole(2, 3, 5, low=0, high=4)
#: No place twice, since the order of equal places is nowhere promised for `update`.
APART = np.stack([np.stack([np.roll([0, 3], j) for j in range(5)], axis=1)] * 3, axis=1)

CASES = [
    gather(X, whole(2, 2, low=0, high=3), 1),
    gather(X, whole(6, low=-5, high=5), -1),
    Case(
        "gather",
        lambda x, i: mb.gather(x=x, indices=scalar(i), axis=1),
        lambda x, i: np.stack([plane[int(i[0])] for plane in x]),
        (X, np.array([2], np.int32)),
        label="scalar",
    ),
    gather(X, np.array([-1, 1], np.int32), 0),
    gather(X, whole(7, low=0, high=4), 0, "iOS17"),
    gather(X, np.array([3, 0], np.uint8), 2, "iOS17"),
    gather(X, whole(4, 2, low=0, high=3), 1, batch=1),
    gather(X, whole(4, 3, 2, low=0, high=5), 2, "iOS17", batch=2),
    gather(whole(4, 3), whole(2, low=0, high=3), 1),
    gather_along_axis(X, ROWS, 0),
    gather_along_axis(X, whole(4, 3, 2, low=-5, high=5), -1),
    gather_along_axis(X, ROWS, 0, "iOS17"),
    gather_nd(X, PAIRS),
    gather_nd(X, PAIRS, "iOS17"),
    gather_nd(X, whole(2, 2, 3, low=0, high=3)),
    gather_nd(X, whole(4, 2, 1, low=0, high=3), batch=1),
    gather_nd(X, whole(4, 2, 2, low=0, high=3), "iOS17", batch=1),
    *(scatter(X, np.array([2, 0], np.int32), draw(4, 2, 5, low=1), 1, mode) for mode in MODES),
    scatter(X, np.array([1, 1, 4], np.int32), draw(4, 3, 3), -1, "add"),
    *(scatter_along_axis(X, APART.astype(np.int32), draw(2, 3, 5, low=1), 0, m) for m in MODES),
    scatter_along_axis(X, ROWS, draw(2, 3, 5), 0, "add"),
    scatter_along_axis(X, ROWS, draw(2, 3, 5), 0, "add", "iOS17"),
    *(scatter_nd(X, PAIRS[:2], draw(2, 5, low=1), mode) for mode in MODES),
    scatter_nd(X, PAIRS, draw(3, 5), "add"),
    scatter_nd(X, np.array([[1, 2, 3], [0, 0, 0]], np.int32), draw(2), "update", "iOS17"),
]


@pytest.mark.parametrize(
    ("target", "index"), [("iOS16", 3), ("iOS16", -4), ("iOS17", 3), ("iOS17", -1), ("iOS18", -1)]
)
def test_indices_out_of_bounds_are_refused(target: str, index: int, tmp_path: Path) -> None:
    inputs = (X, np.array([0, index], np.int32))
    package = converted(tmp_path, lambda x, i: mb.gather(x=x, indices=i, axis=1), inputs, target)
    with pytest.raises(UsageError, match=f"index {index} is out of bounds"):
        run(package, inputs)


@cases(CASES)
def test_every_element_comes_from_its_index(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
