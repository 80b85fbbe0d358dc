"""Arithmetic, comparisons, casts and activations against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from programs import Group, case, fixed

RNG = np.random.default_rng(11)


def real(*shape: int, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


def whole(*shape: int, low: int = -9, high: int = 10) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(np.int64)


def truth(*shape: int) -> np.ndarray:
    return RNG.random(shape) > 0.5


NONZERO = np.array([[-7, 3], [2, -4], [5, -1]], np.int64)
SPECIAL = np.array([1.0, np.inf, -np.inf, np.nan, -2.0], np.float32)

GROUP = Group(
    [
        case("Add", real(2, 3, 4), real(4)),
        case("Add", real(2, 3), fixed(2.0), label="number"),
        case("Add", whole(2, 3), fixed(5), label="whole"),
        case("Sub", fixed(1.0), real(2, 3)),
        case("Mul", real(2, 1, 3), real(1, 4, 3)),
        case("Div", real(3, 2), real(3, 2, low=1)),
        case("Div", whole(3, 2), NONZERO, label="both-live"),
        case("Div", whole(2, 8), fixed(3), operations=("abs", "floor_div", "mul", "sign")),
        case("Div", whole(2, 8), fixed(-3), label="negative"),
        case("Div", fixed(40), NONZERO, label="fixed-by-live"),
        case("Mod", whole(3, 2), NONZERO),
        case("Mod", whole(3, 2), NONZERO, fmod=1, label="fmod"),
        case("Mod", real(4, 3), fixed(0.7), fmod=1, label="real", tolerance=1e-4),
        case("Pow", real(2, 3), fixed(2.0), operations=("square",)),
        case("Pow", real(2, 3, low=0), fixed(0.5), operations=("sqrt",)),
        case("Pow", real(2, 3), fixed(1.0), operations=()),
        case("Pow", real(2, 3), fixed(3), label="whole-power"),
        case("Pow", real(2, 3, low=0.1), real(3)),
        case("Pow", whole(2, 3), fixed(2), label="whole"),
        case("Min", real(2, 3), real(3), real(1)),
        case("Max", real(2, 3), fixed(0.5)),
        case("Max", whole(2, 3), whole(2, 3)),
        case("Sum", real(2, 3), real(3), real(2, 1)),
        case("Mean", real(2, 3), real(3), real(2, 1)),
        case("Mean", real(2, 3), label="single"),
        case("Neg", real(2, 3)),
        case("Neg", whole(2, 3), label="whole"),
        case("Abs", real(2, 3)),
        case("Abs", whole(5), label="whole"),
        case("Sign", np.array([-2.0, 0.0, 3.0], np.float32)),
        case("Reciprocal", real(2, 3, low=0.001)),
        case("Sqrt", real(2, 3, low=0)),
        case("Exp", real(2, 3)),
        case("Log", real(2, 3, low=0.001)),
        case("Log", np.array([0.0, 1.0], np.float32), label="zero"),
        case("Erf", real(2, 3)),
        case("Sin", real(2, 3)),
        case("Cos", real(2, 3)),
        case("Tan", real(2, 3, low=-1, high=1)),
        case("Sinh", real(2, 3)),
        case("Cosh", real(2, 3)),
        case("Asin", real(2, 3, low=-1, high=1)),
        case("Acos", real(2, 3, low=-1, high=1)),
        case("Atan", real(2, 3)),
        case("Atanh", real(2, 3, low=-0.9, high=0.9)),
        case("Tanh", real(2, 3)),
        case("Floor", real(9)),
        case("Ceil", real(9)),
        case("Round", np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 1.7], np.float32)),
        case("Identity", real(2, 3), operations=()),
        case("Dropout", real(2, 3), operations=()),
        case("Equal", whole(3, 4, low=0, high=3), whole(4, low=0, high=3)),
        case("Equal", truth(3, 4), truth(3, 4)),
        case("Greater", real(3, 4), real(4)),
        case("GreaterOrEqual", whole(3, 4), fixed(2)),
        case("Less", real(3, 4), fixed(0.5)),
        case("LessOrEqual", whole(3, 4), whole(3, 1)),
        case("And", truth(3, 4), truth(4)),
        case("Or", truth(3, 4), truth(3, 4)),
        case("Xor", truth(3, 4), truth(3, 4)),
        case("Not", truth(3, 4)),
        case("IsNaN", SPECIAL),
        case("IsInf", SPECIAL),
        case("IsInf", SPECIAL, detect_negative=0, label="above"),
        case("IsInf", SPECIAL, detect_positive=0, label="below"),
        case("IsInf", SPECIAL, detect_positive=0, detect_negative=0, label="neither"),
        case("Where", truth(3, 4), real(3, 4), real(4)),
        case("Where", truth(2, 3, 4), real(4), real(3, 1), label="small-choices"),
        case("Where", truth(3, 4), fixed(0.0), fixed(-100.0), label="two-numbers"),
        case("Where", truth(3, 1), whole(1), whole(4), label="whole"),
        case("Cast", real(5), to=TensorProto.INT64, label="to-whole"),
        case("Cast", whole(5), to=TensorProto.FLOAT, label="to-real"),
        case("Cast", whole(5, low=-1, high=2), to=TensorProto.BOOL, label="to-truth"),
        case("Cast", truth(5), to=TensorProto.FLOAT, label="from-truth"),
        case("Cast", whole(5), to=TensorProto.INT32, label="narrow", operations=()),
        case("CastLike", whole(5), real(1)),
    ]
)

#: Values of float16 that are near one another there, or that it does not hold.
_ROUGH = {"Mod", "Floor", "Ceil", "IsInf", "IsNaN", "Log", "Reciprocal", "Tan", "Atanh"}


@pytest.mark.parametrize("ios", [16, 17, 18])
@pytest.mark.parametrize("index", GROUP.parameters())
def test_operator(index: int, ios: int) -> None:
    GROUP.check(index, ios)


@pytest.mark.parametrize("index", GROUP.parameters())
def test_half_precision(index: int) -> None:
    if GROUP.cases[index].operator not in _ROUGH:
        GROUP.check_half(index)


@pytest.mark.parametrize("index", GROUP.promises())
def test_operations(index: int) -> None:
    GROUP.check_operations(index)
