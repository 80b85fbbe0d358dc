"""Elements taken and put by index, and values made from nothing, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper
from programs import Group, case, fixed

RNG = np.random.default_rng(18)


def real(*shape: int, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


def at(*shape: int, low: int = 0, high: int) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(np.int64)


def whole(*shape: int) -> np.ndarray:
    return at(*shape, low=-9, high=10)


def truth(*shape: int) -> np.ndarray:
    return RNG.random(shape) > 0.5


def distinct(*shape: int) -> np.ndarray:
    """Places of five, none twice along the last axis."""
    rows = [RNG.permutation(5)[: shape[-1]] for _ in range(int(np.prod(shape[:-1])))]
    return np.array(rows, np.int64).reshape(shape)


X = real(2, 3, 5)

GROUP = Group(
    [
        case("Gather", X, fixed(np.int64(1)), axis=1, operations=("slice_by_index",)),
        case(
            "Gather", X, fixed(np.int64(-1)), axis=-1, label="last", operations=("slice_by_index",)
        ),
        case("Gather", real(1, 3, 4), fixed(np.int64(0)), operations=("reshape",)),
        case("Gather", X, fixed([-2, -1]), axis=2, operations=("slice_by_index",)),
        case("Gather", X, fixed([0, 2, 4]), axis=2, label="spaced", operations=("slice_by_index",)),
        case(
            "Gather",
            X,
            fixed([4, 2, 0]),
            axis=2,
            label="back",
            operations=("reverse", "slice_by_index"),
        ),
        case("Gather", X, fixed([0, 1, 2]), axis=1, label="all", operations=()),
        case("Gather", X, fixed([0, 3, 1, -1]), axis=2, label="mixed", operations=("gather",)),
        case("Gather", X, fixed([[0, 1], [2, 3]]), axis=2, label="table"),
        case("Gather", X, fixed([[0, 3], [1, 3]]), axis=2, label="mixed-table"),
        case(
            "Gather", X, at(7, low=-5, high=5), axis=2, label="live", operations=("gather", "mod")
        ),
        case("Gather", X, np.int64(2), axis=2, label="live-number"),
        case("Gather", fixed(real(10, 4)), at(2, 3, high=10), label="table-of-rows"),
        case("Gather", truth(2, 5), fixed([0, 3, 1]), axis=1, label="truth"),
        case("GatherElements", X, at(2, 3, 7, low=-5, high=5), axis=2),
        case("GatherElements", X, at(2, 3, 2, high=5), axis=-1),
        case("GatherElements", X, at(2, 2, 3, high=5), axis=2, label="fewer-rows"),
        case("GatherElements", X, fixed(at(2, 3, 4, low=-5, high=5)), axis=2, label="fixed"),
        case("GatherElements", truth(2, 5), at(2, 3, high=5), axis=1, label="truth"),
        case("GatherND", X, at(4, 2, low=-2, high=2)),
        case("GatherND", X, at(2, 6, 1, low=-3, high=3), batch_dims=1),
        case("GatherND", X, fixed([[0, 1, 2], [1, -1, -1]]), label="fixed"),
        case("ScatterElements", X, distinct(2, 3, 2), real(2, 3, 2), axis=2),
        *(
            case(
                "ScatterElements",
                X,
                at(2, 3, 7, low=-5, high=5),
                real(2, 3, 7),
                axis=2,
                reduction=mode,
            )
            for mode in ("add", "mul", "max", "min")
        ),
        case(
            "ScatterElements", whole(2, 5), fixed([[0], [-1]]), whole(2, 1), axis=1, label="whole"
        ),
        case("ScatterND", X, fixed([[0], [-1]]), real(2, 3, 5)),
        case("ScatterND", X, fixed([[0, 1], [1, 2]]), real(2, 5), label="rows"),
        case("ScatterND", X, at(4, 2, low=-2, high=2), real(4, 5), reduction="add"),
        case("ScatterND", X, at(4, 1, low=-2, high=2), real(4, 3, 5), reduction="max"),
        case("Trilu", real(2, 4, 5), operations=("band_part",)),
        case("Trilu", real(4, 5), fixed(np.int64(1)), operations=("select",)),
        case("Trilu", real(4, 5), fixed(np.int64(-1))),
        case("Trilu", real(4, 5), fixed(np.int64(2)), upper=0),
        case("Trilu", real(4, 5), fixed(np.int64(-1)), upper=0, label="below"),
        case("Trilu", whole(4, 4), fixed(np.int64(1)), label="whole"),
        case("Trilu", truth(4, 4), fixed(np.int64(1)), label="truth"),
        case("OneHot", at(3, low=-5, high=5), fixed(np.int64(5)), fixed(0.5, 2.0)),
        case("OneHot", at(2, 3, high=5), fixed(np.int64(5)), fixed(0, 1), axis=1),
        case("Shape", X, operations=()),
        case("Shape", X, start=1, end=-1, label="part"),
        case("Size", X, operations=()),
        case("ConstantOfShape", fixed(2, 3), operations=()),
        case(
            "ConstantOfShape",
            fixed(2, 3),
            value=numpy_helper.from_array(np.array([7], np.int64)),
            label="whole",
        ),
        case("Range", fixed(np.int64(2)), fixed(np.int64(9)), fixed(np.int64(3))),
        case(
            "Range",
            fixed(np.float32(0)),
            fixed(np.float32(1)),
            fixed(np.float32(0.25)),
            label="real",
        ),
        case("EyeLike", real(3, 4), k=1),
        case("EyeLike", real(3, 4), dtype=6, label="whole"),
    ]
)


@pytest.mark.parametrize("ios", [16, 17, 18])
@pytest.mark.parametrize("index", GROUP.parameters())
def test_operator(index: int, ios: int) -> None:
    GROUP.check(index, ios)


@pytest.mark.parametrize("index", GROUP.parameters())
def test_half_precision(index: int) -> None:
    GROUP.check_half(index)


@pytest.mark.parametrize("index", GROUP.promises())
def test_operations(index: int) -> None:
    GROUP.check_operations(index)
