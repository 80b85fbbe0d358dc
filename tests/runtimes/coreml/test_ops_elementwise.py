"""Elementwise MIL operations against Python's own mathematics, one number at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mil_programs import Array, Case, cases, check, integers, mb, numbers

draw = numbers(1)
whole = integers(2)

X = draw(2, 3, 5)
SMALL = draw(7, 3, low=-0.95, high=0.95)
POSITIVE = draw(3, 5, low=0.05, high=9)
HALVES = np.array([-2.5, -1.5, -0.5, -0.4, 0, 0.5, 0.51, 1.5, 2.5, 3.5], np.float32)
COUNTS = whole(3, 5)
COLUMN = draw(3, 1)
FLAGS = np.array([[True, False, True], [False, False, True]])
OTHERS = np.array([True, True, False])
DIVISORS = np.array([3, -3, 2, -7, 5], np.int32)


def each(function: Callable[..., float]) -> Callable[..., Array]:
    """A Python function on numbers, applied with broadcasting."""
    return np.vectorize(function, otypes=[np.float64])


def unary(name: str, function: Callable[..., float], x: Array) -> Case:
    """An operation of one input and no parameter."""
    return Case(name, lambda x: getattr(mb, name)(x=x), each(function), (x,))


def binary(name: str, function: Callable[..., object], x: Array, y: Array, kind: type) -> Case:
    """An operation of two inputs that broadcast."""
    expected = np.vectorize(function, otypes=[kind])
    return Case(
        name,
        lambda x, y: getattr(mb, name)(x=x, y=y),
        expected,
        (x, y),
        label=x.dtype.name,
    )


UNARY = [
    unary("abs", abs, X),
    unary("acos", math.acos, SMALL),
    unary("asin", math.asin, SMALL),
    unary("atan", math.atan, X),
    unary("atanh", math.atanh, SMALL),
    unary("ceil", math.ceil, X),
    unary("cos", math.cos, X),
    unary("cosh", math.cosh, X),
    unary("erf", math.erf, X),
    unary("exp", math.exp, X),
    unary("exp2", lambda x: 2.0**x, X),
    unary("floor", math.floor, X),
    unary("round", round, HALVES),
    unary("sign", lambda x: float((x > 0) - (x < 0)), HALVES),
    unary("sin", math.sin, X),
    unary("sinh", math.sinh, X),
    unary("sqrt", math.sqrt, POSITIVE),
    unary("square", lambda x: x * x, X),
    unary("tan", math.tan, SMALL),
    unary("tanh", math.tanh, X),
    unary("log", math.log, POSITIVE),
    unary("rsqrt", lambda x: 1 / math.sqrt(x + 1e-12), POSITIVE),
    unary("inverse", lambda x: 1 / (x + 1e-4), POSITIVE),
]

PARAMETERS = [
    Case("abs", lambda x: mb.abs(x=x), np.vectorize(abs), (COUNTS,), label="int32"),
    Case("square", lambda x: mb.square(x=x), lambda x: x * x, (COUNTS,), label="int32"),
    Case(
        "sign",
        lambda x: mb.sign(x=x),
        np.vectorize(lambda x: int(x > 0) - int(x < 0)),
        (COUNTS,),
        label="int32",
    ),
    Case("log", lambda x: mb.log(x=x, epsilon=0.5), each(lambda x: math.log(x + 0.5)), (POSITIVE,)),
    Case(
        "rsqrt",
        lambda x: mb.rsqrt(x=x, epsilon=0.25),
        each(lambda x: (x + 0.25) ** -0.5),
        (POSITIVE,),
        label="epsilon",
    ),
    Case(
        "inverse",
        lambda x: mb.inverse(x=x, epsilon=0.125),
        each(lambda x: 1 / (x + 0.125)),
        (POSITIVE,),
        target="iOS17",
    ),
    Case(
        "clip",
        lambda x: mb.clip(x=x, alpha=-0.5, beta=1.25),
        each(lambda x: min(max(x, -0.5), 1.25)),
        (X,),
    ),
    Case("threshold", lambda x: mb.threshold(x=x, alpha=0.3), each(lambda x: max(x, 0.3)), (X,)),
    Case(
        "logical_not", lambda x: mb.logical_not(x=x), np.vectorize(lambda x: int(not x)), (FLAGS,)
    ),
]

ARITHMETIC = [
    binary("add", lambda x, y: x + y, X, COLUMN, float),
    binary("add", lambda x, y: x + y, COUNTS, DIVISORS, int),
    binary("sub", lambda x, y: x - y, COLUMN, X, float),
    binary("sub", lambda x, y: x - y, COUNTS, DIVISORS, int),
    binary("mul", lambda x, y: x * y, X, draw(5), float),
    binary("mul", lambda x, y: x * y, COUNTS, DIVISORS, int),
    binary("real_div", lambda x, y: x / y, X, draw(3, 5, low=0.5), float),
    binary("floor_div", lambda x, y: math.floor(x / y), X, draw(5, low=-1, high=-0.25), float),
    binary("floor_div", lambda x, y: x // y, COUNTS, DIVISORS, int),
    binary("mod", lambda x, y: x - y * math.floor(x / y), X, draw(5, low=-1, high=-0.25), float),
    binary("mod", lambda x, y: x - y * math.floor(x / y), COUNTS, DIVISORS, int),
    binary("maximum", max, X, COLUMN, float),
    binary("maximum", max, COUNTS, DIVISORS, int),
    binary("minimum", min, X, COLUMN, float),
    binary("minimum", min, COUNTS, DIVISORS, int),
    binary("pow", math.pow, POSITIVE, draw(1, 5), float),
]

COMPARISONS = [
    binary(name, function, x, y, int)
    for name, function in (
        ("equal", lambda x, y: x == y),
        ("not_equal", lambda x, y: x != y),
        ("greater", lambda x, y: x > y),
        ("greater_equal", lambda x, y: x >= y),
        ("less", lambda x, y: x < y),
        ("less_equal", lambda x, y: x <= y),
    )
    for x, y in (
        (np.rint(X), np.rint(COLUMN)),
        (whole(2, 3, 4, low=0, high=3), whole(3, 1, low=0, high=3)),
    )
]

LOGIC = [
    binary("logical_and", lambda x, y: x and y, FLAGS, OTHERS, int),
    binary("logical_or", lambda x, y: x or y, FLAGS, OTHERS, int),
    binary("logical_xor", lambda x, y: x != y, FLAGS, OTHERS, int),
]

CASES = [*UNARY, *PARAMETERS, *ARITHMETIC, *COMPARISONS, *LOGIC]


@cases(CASES)
def test_every_element_is_the_formula(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
