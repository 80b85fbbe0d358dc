"""Making, joining and converting tensors in MIL, element by element."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mil_programs import Array, Case, cases, check, integers, mb, numbers, scalar

draw = numbers(91)
whole = integers(92)

X = draw(2, 3, 5)
Y = draw(2, 3, 5)
COUNTS = whole(2, 3)
FRACTIONS = np.array([-2.7, -1.0, -0.4, 0, 0.6, 2.5, 3.9], np.float32)


def concat(axis: int, *inputs: Array, interleave: bool = False) -> Case:
    """Inputs one after the other, or their slices in turn."""

    def expected(*inputs: Array) -> Array:
        slices = [list(np.moveaxis(x, axis, 0)) for x in inputs]
        turns = zip(*slices, strict=True) if interleave else slices
        return np.stack([row for turn in turns for row in turn], axis)

    return Case(
        "concat",
        lambda *inputs: mb.concat(values=list(inputs), axis=axis, interleave=interleave),
        expected,
        inputs,
        label=f"axis{axis}-{interleave}",
    )


def tile(x: Array, reps: list[int]) -> Case:
    """Every output reads the input modulo its size."""

    def expected(x: Array) -> Array:
        result = np.zeros([n * r for n, r in zip(x.shape, reps, strict=True)], x.dtype)
        for place in np.ndindex(*result.shape):
            result[place] = x[tuple(i % n for i, n in zip(place, x.shape, strict=True))]
        return result

    return Case("tile", lambda x: mb.tile(x=x, reps=reps), expected, (x,))


def cast(x: Array, dtype: str, convert: Callable[[Any], Any], target: str = "iOS16") -> Case:
    """Numbers in another type; what leaves as neither float nor int32 is cast to int32 after."""
    return Case(
        "cast",
        lambda x: mb.cast(x=x, dtype=dtype),
        lambda x: np.array([convert(value) for value in x.tolist()]),
        (x,),
        target=target,
        label=f"{x.dtype}-{dtype}",
    )


CASES = [
    concat(1, X, draw(2, 1, 5), draw(2, 4, 5)),
    concat(-1, X, draw(2, 3, 1)),
    concat(1, X, Y, interleave=True),
    concat(0, COUNTS, whole(1, 3)),
    Case(
        "stack",
        lambda x, y: mb.stack(values=[x, y], axis=1),
        lambda x, y: np.concatenate([x[:, None], y[:, None]], 1),
        (X, Y),
        label="1",
    ),
    Case(
        "stack",
        lambda x, y: mb.stack(values=[x, y], axis=-1),
        lambda x, y: np.concatenate([x[..., None], y[..., None]], -1),
        (X, Y),
        label="-1",
    ),
    tile(X, [2, 1, 3]),
    tile(COUNTS, [1, 2]),
    Case("identity", lambda x: mb.identity(x=x), lambda x: x, (X,)),
    Case("shape", lambda x: mb.shape(x=x), lambda x: np.array([2, 3, 5]), (X,)),
    Case(
        "fill",
        lambda x: mb.fill(shape=mb.shape(x=x), value=2.5),
        lambda x: np.full((2, 3, 5), 2.5),
        (X,),
    ),
    Case(
        "fill",
        lambda x: mb.fill(shape=mb.shape(x=x), value=np.int32(-3)),
        lambda x: np.full((2, 3, 5), -3),
        (X,),
        label="int32",
    ),
    Case(
        "fill_like",
        lambda x: mb.fill_like(ref_tensor=x, value=1.25),
        lambda x: np.full((2, 3), 1.25),
        (COUNTS,),
    ),
    Case(
        "non_zero",
        lambda x: mb.non_zero(x=x),
        lambda x: np.array([[0, 1], [1, 0], [1, 2]]),
        (np.array([[0, 2, 0], [-1, 0, 3]], np.float32),),
    ),
    Case(
        "range_1d",
        lambda x: mb.range_1d(start=np.int32(2), end=scalar(x), step=np.int32(3)),
        lambda x: np.array([2, 5, 8]),
        (np.array([10], np.int32),),
    ),
    Case(
        "range_1d",
        lambda x: mb.range_1d(start=scalar(x), end=-1.0, step=-0.5),
        lambda x: np.array([1, 0.5, 0, -0.5]),
        (np.array([1], np.float32),),
    ),
    *(
        Case(
            "flatten2d",
            lambda x, a=axis: mb.flatten2d(x=x, axis=a),
            lambda x, s=shape: np.array(x.ravel().tolist()).reshape(s),
            (X,),
            label=str(axis),
        )
        for axis, shape in ((1, (2, 15)), (-1, (6, 5)), (2, (6, 5)))
    ),
    cast(FRACTIONS, "int32", int),
    cast(FRACTIONS, "fp16", lambda x: float(np.float16(x))),
    cast(FRACTIONS, "bool", lambda x: int(x != 0)),
    cast(np.array([-3, 0, 7], np.int32), "fp32", float),
    cast(np.array([-3, 0, 7], np.int32), "bool", lambda x: int(x != 0)),
    cast(np.array([-3.7, 0.2, 100.9], np.float32), "int8", int, "iOS17"),
    cast(np.array([3.7, 0.2, 200.9], np.float32), "uint8", int, "iOS17"),
    cast(np.array([-300, 2, 1000], np.int32), "int16", int, "iOS17"),
    cast(np.array([3, 2, 60000], np.int32), "uint16", int, "iOS17"),
]


@cases(CASES)
def test_every_element_is_known(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
