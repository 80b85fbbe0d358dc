"""Activation functions and limits against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from programs import Group, case, fixed

RNG = np.random.default_rng(12)


def real(*shape: int, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


def whole(*shape: int) -> np.ndarray:
    return RNG.integers(-9, 10, shape).astype(np.int64)


LARGEST = float(np.finfo(np.float32).max)

GROUP = Group(
    [
        case("Relu", real(2, 3), operations=("relu",)),
        case("Relu", whole(7).astype(np.int32), label="whole"),
        case("LeakyRelu", real(2, 3), alpha=0.2, operations=("leaky_relu",)),
        case("PRelu", real(2, 3, 4, 5), fixed(real(3, 1, 1)), operations=("prelu",)),
        case("PRelu", real(2, 3, 4, 5), fixed(real(1)), operations=("leaky_relu",)),
        case("PRelu", real(2, 3, 4), fixed(real(3, 1)), label="three-axes"),
        case("PRelu", real(2, 3, 4, 5), fixed(real(4, 5)), label="other-axes"),
        case("PRelu", real(2, 3), fixed(real(3)), label="two-axes"),
        case("PRelu", real(2, 3, 4), real(3, 1), label="live"),
        case("Elu", real(2, 3), alpha=0.7, operations=("elu",)),
        case("Celu", real(2, 3), alpha=0.7),
        case("Celu", real(2, 3), operations=("elu",)),
        case("Selu", real(2, 3)),
        case("Softplus", real(2, 3)),
        case("Softsign", real(2, 3)),
        case("Sigmoid", real(2, 3)),
        case("HardSigmoid", real(2, 3), alpha=0.3, beta=0.4, operations=("sigmoid_hard",)),
        case("HardSwish", 2 * real(2, 3), operations=("sigmoid_hard", "mul")),
        case("Mish", real(2, 3)),
        case("ThresholdedRelu", np.array([0.5, 1.0, 1.5, -2.0], np.float32), alpha=1.0),
        case("Gelu", real(2, 3), operations=("gelu",)),
        case("Gelu", real(2, 3), approximate="tanh"),
        case("Clip", real(2, 3), fixed(-1.0), fixed(1.5), operations=("clip",)),
        case("Clip", 3 * real(2, 3), fixed(0.0), fixed(6.0), operations=("relu6",)),
        case("Clip", real(2, 3), fixed(0.0), operations=("relu",)),
        case("Clip", real(2, 3), None, fixed(0.5), operations=("minimum",)),
        case("Clip", real(2, 3), fixed(0.5), fixed(LARGEST), operations=("maximum",)),
        case("Clip", real(2, 3), fixed(-LARGEST), fixed(LARGEST), operations=()),
        case("Clip", real(2, 3), fixed(1.0), fixed(-1.0), label="crossed"),
        case("Clip", real(2, 3), fixed(1.0), fixed(1.0), label="equal"),
        case("Clip", real(2, 3), np.float32(-0.5), np.float32(0.5), label="live"),
        case("Clip", whole(9), fixed(-2), fixed(4), label="whole"),
        case("Clip", whole(9), fixed(-(2**63)), fixed(4), label="open"),
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


#: Operators and spellings of other opsets.
NEWEST = Group(
    [
        case("Swish", real(2, 3), operations=("silu",)),
        case("Swish", real(2, 3), alpha=1.7),
    ],
    opset=24,
)
OLDEST = Group([case("Clip", real(2, 3), min=-1.0, max=0.5, operations=("clip",))], opset=9)


@pytest.mark.parametrize("group", [NEWEST, OLDEST], ids=["newest", "oldest"])
def test_other_opsets(group: Group) -> None:
    for index in range(len(group.cases)):
        group.check(index, 16)
        group.check_half(index)
