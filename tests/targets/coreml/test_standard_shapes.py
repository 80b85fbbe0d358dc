"""Values in other shapes against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from programs import Group, case, fixed

RNG = np.random.default_rng(17)


def real(*shape: int, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


def whole(*shape: int) -> np.ndarray:
    return RNG.integers(-9, 10, shape).astype(np.int64)


def truth(*shape: int) -> np.ndarray:
    return RNG.random(shape) > 0.5


X = real(2, 3, 4)
END = 2**63 - 1

GROUP = Group(
    [
        case("Reshape", X, fixed(0, -1), operations=("reshape",)),
        case("Reshape", X, fixed(2, 3, 4), operations=()),
        case("Reshape", real(1, 1), fixed(np.zeros(0, np.int64)), label="number"),
        case("Reshape", np.float32(3), fixed(1, 1), label="from-number"),
        case("Reshape", truth(2, 3), fixed([6]), label="truth"),
        case("Flatten", real(2, 3, 4, 5), axis=2),
        case("Flatten", real(2, 3), operations=()),
        case("Squeeze", real(2, 1, 3, 1), fixed(1, -1)),
        case("Squeeze", real(2, 1, 3, 1), fixed([1])),
        case("Squeeze", real(2, 1, 3, 1), label="all"),
        case("Unsqueeze", X, fixed(0, -1)),
        case("Transpose", X, perm=[2, 0, 1], operations=("transpose",)),
        case("Transpose", X, label="reversed"),
        case("Transpose", X, perm=[0, 1, 2], operations=()),
        case("Transpose", real(2, 1, 4, 1), perm=[0, 3, 1, 2], operations=("reshape",)),
        case("Transpose", real(2, 1, 4), perm=[1, 0, 2], operations=("reshape",)),
        case("Transpose", truth(2, 3), label="truth"),
        case("Transpose", real(2, 3, 2, 3, 2), perm=[0, 3, 4, 1, 2], operations=("transpose",)),
        case("Expand", real(2, 1, 4), fixed(2, 3, 4), operations=("tile",)),
        case("Expand", real(3, 1), fixed(2, 1, 4), operations=("reshape", "tile")),
        case("Expand", X, fixed(1, 1), operations=()),
        case("Expand", real(3), fixed(1, 1, 3), operations=("reshape",)),
        case("Expand", whole(1), fixed(2, 3), label="whole"),
        case("Tile", X, fixed(1, 2, 3), operations=("tile",)),
        case("Tile", X, fixed(1, 1, 1), operations=()),
        case("Tile", truth(2, 3), fixed(2, 1), label="truth"),
        case("Concat", X, real(2, 1, 4), fixed(real(2, 2, 4)), axis=1, operations=("concat",)),
        case("Concat", X, real(2, 3, 1), axis=-1),
        case("Concat", X, axis=0, label="single", operations=()),
        case(
            "Concat",
            X,
            fixed(np.zeros((0, 3, 4), np.float32)),
            axis=0,
            label="empty",
            operations=(),
        ),
        case("Concat", whole(2), fixed(7, 8), axis=0, label="whole"),
        case("Concat", truth(2), truth(3), axis=0, label="truth"),
        case("Split", real(2, 6), axis=1, num_outputs=3, outputs=3, operations=("split",)),
        case("Split", real(2, 7), axis=1, num_outputs=3, outputs=3, label="uneven"),
        case("Split", real(6, 2), fixed(1, 2, 3), outputs=3, operations=("split",)),
        case("Split", real(2, 6), fixed(2, 4), axis=-1, outputs=2),
        case("Split", real(2, 6), num_outputs=1, outputs=1, label="single", operations=()),
        case("Slice", X, fixed([1]), fixed([3]), fixed([1]), operations=("slice_by_index",)),
        case("Slice", X, fixed(0, -3), fixed(1, END), fixed(0, 2), label="two-axes"),
        case("Slice", X, fixed([0]), fixed([END]), fixed([1]), operations=()),
        case(
            "Slice",
            X,
            fixed([0]),
            fixed([END]),
            fixed([2]),
            fixed([2]),
            operations=("slice_by_index",),
        ),
        case(
            "Slice", X, fixed([-1]), fixed([-END]), fixed([2]), fixed([-1]), operations=("reverse",)
        ),
        case("Slice", real(9), fixed([7]), fixed([1]), fixed([0]), fixed([-3]), label="back"),
        case(
            "Slice", real(9), fixed([20]), fixed([-20]), fixed([0]), fixed([-2]), label="back-all"
        ),
        case(
            "Slice", real(9, 9), fixed(1, 8), fixed(9, -10), fixed(0, 1), fixed(3, -1), label="both"
        ),
        case("Slice", truth(2, 5), fixed([1]), fixed([4]), fixed([1]), label="truth"),
        case("Slice", whole(9), fixed([2]), fixed([5]), label="no-axes"),
        case("Pad", X, fixed(0, 1, 2, 0, 0, 3), fixed(np.float32(1.5)), operations=("pad",)),
        case("Pad", X, fixed(0, 0, 1, 0, 0, 2), label="zeros", operations=("pad",)),
        case("Pad", X, fixed(0, 1, 2, 0, 2, 3), mode="reflect", operations=("pad",)),
        case("Pad", X, fixed(0, 2, 1, 0, 1, 4), mode="edge", operations=("pad",)),
        case(
            "Pad",
            X,
            fixed(0, -1, 2, 0, 0, -1),
            label="cut-and-pad",
            operations=("pad", "slice_by_index"),
        ),
        case("Pad", X, fixed(0, -1, 0, 0, 0, -1), label="cut", operations=("slice_by_index",)),
        case("Pad", X, fixed(0, 0, 0, 0, 0, 0), operations=()),
        case("Pad", X, fixed(1, 2), None, fixed([-1]), label="axes"),
        case("Pad", whole(2, 3), fixed(1, 0, 0, 2), fixed(np.int64(7)), label="whole"),
        case("Pad", truth(2, 3), fixed(0, 1, 0, 1), label="truth"),
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
