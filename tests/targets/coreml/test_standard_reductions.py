"""Sums, extremes and their places against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from programs import Group, case, fixed

RNG = np.random.default_rng(16)


def real(*shape: int, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


def whole(*shape: int) -> np.ndarray:
    return RNG.integers(-9, 10, shape).astype(np.int64)


def spaced(*shape: int) -> np.ndarray:
    """Numbers of which no two are equal, also in float16."""
    return RNG.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)


KINDS = {
    "ReduceL1": "reduce_l1_norm",
    "ReduceL2": "reduce_l2_norm",
    "ReduceLogSum": "reduce_log_sum",
    "ReduceLogSumExp": "reduce_log_sum_exp",
    "ReduceMax": "reduce_max",
    "ReduceMean": "reduce_mean",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
    "ReduceSum": "reduce_sum",
    "ReduceSumSquare": "reduce_sum_square",
}
GROUP = Group(
    [
        *(
            case(operator, real(2, 3, 4, low=0.5), fixed(1, 2), keepdims=keep, operations=(kind,))
            for operator, kind in KINDS.items()
            for keep in (0, 1)
        ),
        *(
            case(operator, real(2, 3, 4, low=0.5, high=1.5), keepdims=0, label="all")
            for operator in KINDS
        ),
        case("ReduceSum", real(2, 3, 4), fixed([-1]), keepdims=0, label="negative"),
        case("ReduceSum", real(2, 3, 4), noop_with_empty_axes=1, operations=()),
        case("ReduceSum", whole(2, 3, 4), fixed([1]), label="whole"),
        case("ReduceMax", whole(2, 3, 4), fixed([1]), label="whole"),
        case("ReduceMean", real(2, 1, 4), fixed([1]), label="single", operations=()),
        case(
            "ReduceMean",
            real(2, 1, 4),
            fixed([1]),
            keepdims=0,
            label="single",
            operations=("reshape",),
        ),
        case("ReduceMax", real(2, 3) > 0, fixed([1]), label="truth"),
        case("ArgMax", real(2, 3, 4), axis=1, operations=("reduce_argmax",)),
        case("ArgMax", real(2, 3, 4), axis=-1, keepdims=0),
        case("ArgMin", real(2, 3, 4)),
        case("CumSum", real(2, 3, 4), fixed(np.int64(-1)), operations=("cumsum",)),
        case("CumSum", real(2, 3, 4), fixed(np.int64(1)), exclusive=1),
        case("CumSum", whole(2, 3, 4), fixed(np.int64(0)), reverse=1),
        case("TopK", spaced(2, 3, 8), fixed([3]), outputs=2, operations=("topk",)),
        case("TopK", spaced(2, 8, 3), fixed([2]), axis=1, largest=0, outputs=2),
        case("TopK", spaced(2, 8), fixed([8]), axis=-1, sorted=1, outputs=2),
    ]
)

#: Axes as attributes.
OLDER = Group(
    [
        case(operator, real(2, 3, 4, low=0.5), axes=[-1, 0])
        for operator in KINDS
        if operator != "ReduceSum"
    ],
    opset=17,
)


@pytest.mark.parametrize("index", OLDER.parameters())
def test_axes_as_attribute(index: int) -> None:
    OLDER.check(index, 16)


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
