"""Sorting, padding, splitting and running sums of MIL, against Python lists."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from mil_programs import Array, Case, cases, check, integers, mb, numbers

draw = numbers(81)
whole = integers(82)

X = draw(2, 3, 5)
COUNTS = whole(2, 3, 5)


def band_part(x: Array, lower: int, upper: int) -> Case:
    """Everything outside a band around the diagonal is zero."""

    def expected(x: Array) -> Array:
        result = np.zeros(x.shape)
        for m, n in itertools.product(*map(range, x.shape[-2:])):
            if (lower < 0 or m - n <= lower) and (upper < 0 or n - m <= upper):
                result[..., m, n] = x[..., m, n]
        return result

    return Case(
        "band_part",
        lambda x: mb.band_part(x=x, lower=lower, upper=upper),
        expected,
        (x,),
        label=f"{lower}-{upper}",
    )


def cumsum(x: Array, axis: int, *, exclusive: bool = False, reverse: bool = False) -> Case:
    """Running sums along an axis."""

    def line(values: Array) -> list[Any]:
        row = list(values)[::-1] if reverse else list(values)
        sums = [sum(row[: i + (not exclusive)]) for i in range(len(row))]
        return sums[::-1] if reverse else sums

    return Case(
        "cumsum",
        lambda x: mb.cumsum(x=x, axis=axis, exclusive=exclusive, reverse=reverse),
        lambda x: np.apply_along_axis(line, axis, x),
        (x,),
        label=f"{axis}-{exclusive}-{reverse}-{x.dtype}",
    )


def ranked(values: Array, ascending: bool) -> list[int]:
    """Places of the values in order; equal ones in the order they stand."""
    return sorted(range(len(values)), key=lambda i: values[i] if ascending else -values[i])


def argsort(x: Array, axis: int, ascending: bool) -> Case:
    """Places in order of their values."""
    return Case(
        "argsort",
        lambda x: mb.argsort(x=x, axis=axis, ascending=ascending),
        lambda x: np.apply_along_axis(ranked, axis, x, ascending),
        (x,),
        label=f"{axis}-{ascending}",
    )


def topk(
    x: Array, k: int, axis: int, ascending: bool, target: str = "iOS16", **options: Any
) -> Case:
    """The first `k` values in order, and where they stood."""

    def expected(x: Array) -> tuple[Array, ...]:
        places = np.apply_along_axis(lambda v: ranked(v, ascending)[:k], axis, x)
        values = np.apply_along_axis(lambda v: [v[i] for i in ranked(v, ascending)[:k]], axis, x)
        return (values, places) if options.get("return_indices", True) else (values,)

    return Case(
        "topk",
        lambda x: mb.topk(x=x, k=k, axis=axis, ascending=ascending, **options),
        expected,
        (x,),
        target=target,
        label="-".join([f"{k}-{axis}-{ascending}", *options]),
    )


def one_hot(indices: Array, size: int, axis: int, **values: Any) -> Case:
    """A new axis that is `on` at the index and `off` elsewhere."""
    on, off = values.get("on_value", 1), values.get("off_value", 0)

    def expected(indices: Array) -> Array:
        planes = [np.vectorize(lambda i, c=c: on if i == c else off)(indices) for c in range(size)]
        return np.stack(planes, axis)

    return Case(
        "one_hot",
        lambda i: mb.one_hot(indices=i, one_hot_vector_size=size, axis=axis, **values),
        expected,
        (indices,),
        label=f"axis{axis}-{len(values)}",
    )


def pad(x: Array, amounts: list[int], mode: str, value: float = 0.0) -> Case:
    """Every output reads one input, or the constant outside."""
    pairs = [(0, 0)] * (x.ndim - len(amounts) // 2)
    pairs += [(int(b), int(a)) for b, a in zip(amounts[::2], amounts[1::2], strict=True)]

    def source(place: int, size: int) -> int | None:
        if 0 <= place < size:
            return place
        if mode == "reflect":
            return -place if place < 0 else 2 * (size - 1) - place
        return None if mode == "constant" else (0 if place < 0 else size - 1)

    def expected(x: Array) -> Array:
        result = np.zeros([n + sum(p) for n, p in zip(x.shape, pairs, strict=True)])
        for place in np.ndindex(*result.shape):
            found = [
                source(i - before, n)
                for i, (before, _), n in zip(place, pairs, x.shape, strict=True)
            ]
            result[place] = value if None in found else x[tuple(found)]
        return result

    return Case(
        "pad",
        lambda x: mb.pad(x=x, pad=amounts, mode=mode, constant_val=value),
        expected,
        (x,),
        label=f"{mode}-{'_'.join(map(str, amounts))}",
    )


def split(x: Array, axis: int, parts: list[int], **options: Any) -> Case:
    """Consecutive pieces of the given sizes."""

    def expected(x: Array) -> tuple[Array, ...]:
        ends = list(itertools.accumulate(parts))
        return tuple(
            np.take(x, range(end - size, end), axis) for size, end in zip(parts, ends, strict=True)
        )

    return Case(
        "split",
        lambda x: mb.split(x=x, axis=axis, **options),
        expected,
        (x,),
        label=f"axis{axis}-{len(options)}",
    )


CASES = [
    *(band_part(X, *ends) for ends in ((0, -1), (-1, 0), (0, 0), (1, 2))),
    *(cumsum(X, 1, exclusive=e, reverse=r) for e in (False, True) for r in (False, True)),
    cumsum(COUNTS, -1),
    argsort(X, -1, False),
    argsort(X, 1, True),
    topk(X, 3, -1, False),
    topk(X, 2, 1, True),
    topk(X, 2, -1, False, return_indices=False),
    topk(X, 1, 0, False, sort=True),
    topk(X, 2, -1, False, "iOS17", output_indices_dtype="uint16"),
    one_hot(whole(2, 3, low=0, high=4), 4, -1),
    one_hot(whole(2, 3, low=0, high=4), 5, 1, on_value=2.5, off_value=-1.0),
    pad(X, [1, 2, 0, 3], "constant", 1.5),
    pad(X, [1, 0, 0, 1, 2, 2], "constant"),
    pad(X, [1, 2, 3, 0], "reflect"),
    pad(X, [2, 1, 0, 3], "replicate"),
    pad(draw(1, 2, 3, 4), [1, 1, 2, 1], "reflect"),
    split(X, -1, [2, 3], split_sizes=[2, 3]),
    split(X, 1, [1, 1, 1], num_splits=3),
    split(draw(2, 6), 1, [1, 3, 2], num_splits=3, split_sizes=[1, 3, 2]),
]


@cases(CASES)
def test_every_element_has_its_place(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
