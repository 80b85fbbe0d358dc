"""Reductions of MIL against Python's sums, products and comparisons over lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mil_programs import Array, Case, cases, check, integers, mb, numbers

draw = numbers(51)
whole = integers(52)

X = draw(2, 3, 5)
POSITIVE = draw(2, 3, 5, low=0.1)
COUNTS = whole(2, 3, 5, low=1, high=7)

FORMULAS: dict[str, Callable[[list[Any]], Any]] = {
    "reduce_sum": sum,
    "reduce_prod": math.prod,
    "reduce_mean": lambda values: sum(values) / len(values),
    "reduce_max": max,
    "reduce_min": min,
    "reduce_sum_square": lambda values: sum(v * v for v in values),
    "reduce_l1_norm": lambda values: sum(abs(v) for v in values),
    "reduce_l2_norm": lambda values: math.sqrt(sum(v * v for v in values)),
    "reduce_log_sum": lambda values: math.log(sum(values)),
    "reduce_log_sum_exp": lambda values: math.log(sum(math.exp(v) for v in values)),
}
EXACT = ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_sum_square")


def over(x: Array, axes: Sequence[int] | None, keep: bool, formula: Callable[..., Any]) -> Array:
    """`formula` of the list of values along `axes`, for every other position."""
    dropped = sorted(a % x.ndim for a in (range(x.ndim) if axes is None else axes))
    kept = [a for a in range(x.ndim) if a not in dropped]
    rows = np.transpose(x, [*kept, *dropped]).reshape(*(x.shape[a] for a in kept), -1)
    result = np.array([formula(rows[i].tolist()) for i in np.ndindex(*rows.shape[:-1])])
    shape = [1 if a in dropped else n for a, n in enumerate(x.shape)]
    return result.reshape(shape if keep else [x.shape[a] for a in kept])


def reduction(name: str, x: Array, axes: list[int] | None, keep: bool) -> Case:
    """A reduction over several axes, or over all where `axes` is None."""
    given = {} if axes is None else {"axes": axes}
    return Case(
        name,
        lambda x: getattr(mb, name)(x=x, keep_dims=keep, **given),
        lambda x: over(x, axes, keep, FORMULAS[name]),
        (x,),
        label=f"{axes}-{keep}-{x.dtype}",
    )


def arg(name: str, x: Array, axis: int, keep: bool, target: str = "iOS16", **more: str) -> Case:
    """The place of the largest or smallest value along an axis."""
    best = max if name == "reduce_argmax" else min
    return Case(
        name,
        lambda x: getattr(mb, name)(x=x, axis=axis, keep_dims=keep, **more),
        lambda x: over(x, [axis], keep, lambda values: values.index(best(values))),
        (x,),
        target=target,
        label="-".join([f"{axis}-{keep}", *more.values()]),
    )


CASES = [
    reduction(name, POSITIVE if name == "reduce_log_sum" else X, axes, keep)
    for name in FORMULAS
    for axes, keep in (([-1], False), ([0, 2], True), (None, False), ([-2], True))
]
CASES += [reduction(name, COUNTS, [1], False) for name in EXACT]
CASES += [
    arg(name, X, axis, keep)
    for name in ("reduce_argmax", "reduce_argmin")
    for axis, keep in ((-1, False), (1, True))
]
CASES += [
    arg(name, X, 0, False, "iOS17", output_dtype="uint16")
    for name in ("reduce_argmax", "reduce_argmin")
]


@cases(CASES)
def test_every_output_reduces_a_list(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


def test_log_sum_exp_does_not_overflow(tmp_path: Path) -> None:
    case = Case(
        "reduce_log_sum_exp",
        lambda x: mb.reduce_log_sum_exp(x=x, axes=[-1]),
        lambda x: np.array([1000 + math.log(2), -1000 + math.log(3)]),
        (np.array([[1000, 1000, -1000], [-1000, -1000, -1000]], np.float32),),
    )
    check(case, tmp_path)
