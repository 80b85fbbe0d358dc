"""Pooling of MIL against loops over windows."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mil_formulas import paddings, pooling
from mil_programs import Array, Case, cases, check, mb, numbers

draw = numbers(21)

REDUCERS: dict[str, Callable[[Array, int], float]] = {
    "max_pool": lambda values, inside: float(np.max(values)),
    "avg_pool": lambda values, inside: float(np.sum(values)) / inside,
    "l2_pool": lambda values, inside: math.sqrt(float(np.sum(values * values))),
    "exclusive": lambda values, inside: float(np.sum(values)) / values.size,
}


def outputs_of(size: int, kernel: int, step: int, pad: tuple[int, int], ceil: bool) -> int:
    """Windows along one dimension; with `ceil` the last may hang over the end."""
    room = size + sum(pad) - kernel
    if not ceil:
        return room // step + 1
    count = math.ceil(room / step) + 1
    hangs = (count - 1) * step >= size + pad[0] and sum(pad) > 0
    return count - 1 if hangs else count


def pool(name: str, x: Array, kernel: list[int], **options: Any) -> Case:
    """A pooling with the parameters of the MIL operation."""
    rank = x.ndim - 2
    stride = options.get("strides", [1] * rank)
    kind = options["pad_type"]
    target = options.pop("target", "iOS16")
    pad = [tuple(p) for p in np.reshape(options.get("pad", [0] * 2 * rank), (rank, 2)).tolist()]
    if kind.startswith("same"):
        pad = paddings(kind, x.shape[2:], kernel, stride)
    outputs = [
        outputs_of(n, k, s, p, options.get("ceil_mode", False))
        for n, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True)
    ]
    exclusive = options.get("exclude_padding_from_average", False)
    reduce = REDUCERS["exclusive" if exclusive else name]
    return Case(
        name,
        lambda x: getattr(mb, name)(x=x, kernel_sizes=kernel, **options),
        lambda x: pooling(x, reduce, kernel, stride, pad, outputs),
        (x,),
        target=target,
        label="-".join([kind, *(key for key in options if key not in ("pad_type", "pad"))]),
    )


X = draw(2, 3, 7, 8)

CASES = [
    case
    for name in ("max_pool", "avg_pool", "l2_pool")
    for case in (
        pool(name, X, [2, 3], pad_type="valid"),
        pool(name, X, [3, 3], pad_type="custom", pad=[1, 1, 0, 2], strides=[2, 3]),
        pool(name, X, [3, 2], pad_type="same", strides=[2, 2]),
        pool(name, X, [4, 2], pad_type="same_lower", strides=[2, 3]),
        pool(name, draw(1, 2, 9), [3], pad_type="custom", pad=[1, 0], strides=[2]),
    )
]
CASES += [
    case
    for name in ("max_pool", "avg_pool")
    for case in (
        pool(name, draw(1, 2, 4, 5, 4), [2, 3, 2], pad_type="same", strides=[2, 1, 2]),
        pool(name, X, [2, 3], pad_type="valid", strides=[2, 2], ceil_mode=True),
        pool(name, X, [3, 3], pad_type="custom", pad=[1] * 4, strides=[2, 2], ceil_mode=True),
        pool(name, X, [2, 2], pad_type="custom", pad=[1] * 4, strides=[3, 3], ceil_mode=True),
        pool(name, X, [7, 8], pad_type="valid", target="iOS17"),
    )
]
CASES += [
    pool("avg_pool", X, [3, 3], exclude_padding_from_average=True, **options)
    for options in (
        {"pad_type": "custom", "pad": [1, 1, 0, 2], "strides": [2, 3]},
        {"pad_type": "same", "strides": [2, 2]},
        {"pad_type": "custom", "pad": [1] * 4, "strides": [2, 2], "ceil_mode": True},
    )
]


@cases(CASES)
def test_every_output_reduces_its_window(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
