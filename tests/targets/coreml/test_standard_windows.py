"""Convolutions and pools against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from programs import Group, case, fixed

RNG = np.random.default_rng(14)


def real(*shape: int, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


MAP = real(2, 3, 7, 8)
OUTSIDE = {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}

GROUP = Group(
    [
        case(
            "Conv",
            MAP,
            fixed(real(4, 3, 3, 3)),
            fixed(real(4)),
            pads=[1, 1, 1, 1],
            operations=("conv",),
        ),
        case(
            "Conv", MAP, fixed(real(4, 3, 2, 3)), pads=[0, 2, 1, 1], strides=[2, 1], label="uneven"
        ),
        case("Conv", MAP, fixed(real(4, 3, 3, 3)), dilations=[2, 1], label="dilated"),
        case("Conv", MAP, fixed(real(6, 1, 3, 3)), fixed(real(6)), group=3),
        case(
            "Conv",
            MAP,
            fixed(real(4, 3, 2, 3)),
            auto_pad="SAME_UPPER",
            strides=[2, 2],
            label="upper",
        ),
        case("Conv", MAP, fixed(real(4, 3, 2, 4)), auto_pad="SAME_LOWER", label="lower"),
        case("Conv", MAP, fixed(real(4, 3, 2, 2)), auto_pad="VALID", label="valid"),
        case("Conv", real(2, 3, 9), fixed(real(4, 3, 3)), fixed(real(4)), pads=[1, 0], strides=[2]),
        case(
            "Conv",
            MAP,
            real(4, 3, 3, 3),
            real(4),
            label="live",
            operations=("add", "conv", "reshape"),
        ),
        case("Conv", real(1, 2, 4, 5, 3), fixed(real(3, 2, 2, 2, 2)), label="volume"),
        case(
            "ConvTranspose",
            MAP,
            fixed(real(3, 4, 3, 3)),
            fixed(real(4)),
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            operations=("conv_transpose",),
        ),
        case(
            "ConvTranspose",
            MAP,
            fixed(real(3, 4, 3, 3)),
            fixed(real(4)),
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            output_padding=[1, 1],
            operations=("conv_transpose",),
        ),
        case(
            "ConvTranspose",
            MAP,
            fixed(real(3, 4, 2, 2)),
            fixed(real(4)),
            strides=[2, 3],
            output_padding=[1, 2],
            label="beyond",
            operations=("add", "conv_transpose", "pad"),
        ),
        case("ConvTranspose", MAP, fixed(real(3, 2, 3, 3)), group=3, dilations=[2, 1]),
        case(
            "ConvTranspose",
            MAP,
            fixed(real(3, 4, 3, 3)),
            strides=[2, 2],
            auto_pad="SAME_UPPER",
            label="upper",
        ),
        case(
            "ConvTranspose",
            MAP,
            fixed(real(3, 4, 3, 3)),
            strides=[2, 2],
            auto_pad="SAME_LOWER",
            label="lower",
        ),
        case(
            "ConvTranspose",
            MAP,
            fixed(real(3, 4, 3, 3)),
            strides=[2, 2],
            output_shape=[14, 17],
            label="shape",
        ),
        case(
            "ConvTranspose", real(2, 3, 5), fixed(real(3, 4, 4)), real(4), strides=[2], pads=[1, 1]
        ),
        case("MaxPool", MAP, kernel_shape=[2, 3], strides=[2, 2], operations=("max_pool",)),
        case(
            "MaxPool",
            MAP - 5,
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            label="padded",
        ),
        case(
            "MaxPool",
            MAP - 5,
            kernel_shape=[3, 2],
            strides=[2, 2],
            ceil_mode=1,
            label="ceil",
            operations=("max_pool",),
        ),
        case(
            "MaxPool",
            MAP - 5,
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            ceil_mode=1,
            label="ceil-padded",
        ),
        case("MaxPool", MAP - 5, kernel_shape=[2, 2], auto_pad="SAME_UPPER", label="upper"),
        case("MaxPool", MAP - 5, kernel_shape=[2, 2], auto_pad="SAME_LOWER", label="lower"),
        case("MaxPool", real(2, 3, 9), kernel_shape=[3], strides=[2]),
        case("AveragePool", MAP, kernel_shape=[2, 3], strides=[2, 2], operations=("avg_pool",)),
        case(
            "AveragePool",
            MAP,
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            label="padded",
        ),
        case(
            "AveragePool",
            MAP,
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            count_include_pad=1,
            label="counted",
        ),
        case(
            "AveragePool",
            MAP,
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[0, 1, 1, 0],
            count_include_pad=1,
            label="counted-uneven",
        ),
        case("AveragePool", MAP, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, label="ceil"),
        case(
            "AveragePool",
            MAP,
            kernel_shape=[3, 3],
            strides=[3, 2],
            pads=[1, 1, 1, 1],
            ceil_mode=1,
            label="ceil-padded",
        ),
        case(
            "AveragePool",
            MAP,
            kernel_shape=[3, 3],
            strides=[3, 2],
            pads=[1, 1, 1, 1],
            ceil_mode=1,
            count_include_pad=1,
            label="ceil-counted",
        ),
        case("AveragePool", MAP, kernel_shape=[2, 2], auto_pad="SAME_UPPER", label="upper"),
        case("AveragePool", real(2, 3, 9), kernel_shape=[3], strides=[2], pads=[1, 1]),
        case("LpPool", MAP, kernel_shape=[2, 3], strides=[2, 2], operations=("l2_pool",)),
        case("LpPool", MAP, kernel_shape=[2, 3], strides=[2, 2], pads=[1, 1, 0, 1], p=1),
        case("GlobalAveragePool", MAP, operations=("reduce_mean",)),
        case("GlobalMaxPool", MAP, operations=("reduce_max",)),
        case("GlobalLpPool", MAP),
        case("GlobalAveragePool", real(2, 3, 9)),
    ]
)

#: Up to opset 21, ONNX infers one window too many where it would begin in the padding.
NEWER = Group(
    [
        case("MaxPool", MAP - 5, **OUTSIDE, label="outside"),
        case("AveragePool", MAP, **OUTSIDE, label="outside"),
        case("AveragePool", MAP, **OUTSIDE, count_include_pad=1, label="outside-counted"),
    ],
    opset=22,
)


@pytest.mark.parametrize("ios", [16, 17, 18])
@pytest.mark.parametrize("index", NEWER.parameters())
def test_window_that_begins_in_the_padding(index: int, ios: int) -> None:
    NEWER.check(index, ios)


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
