"""Activations of MIL against their scalar definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mil_programs import Array, Case, cases, check, mb, numbers

draw = numbers(61)

X = draw(2, 3, 5, low=-8, high=8)
IMAGE = draw(2, 3, 2, 4, low=-3, high=3)
ALPHA, BETA = draw(3), draw(3, low=0.2, high=2)
EVEN = np.full(3, 0.375, np.float32)


def sigmoid(x: float) -> float:
    """The logistic function."""
    return 1 / (1 + math.exp(-x))


def plain(name: str, function: Callable[[float], float], **options: Any) -> Case:
    """An activation of single elements."""
    return Case(
        name,
        lambda x: getattr(mb, name)(x=x, **options),
        np.vectorize(function, otypes=[np.float64]),
        (X,),
        label="-".join(map(str, options.values())),
    )


def per_channel(name: str, function: Callable[..., float], x: Array, **vectors: Array) -> Case:
    """An activation whose parameters differ between channels."""

    def expected(x: Array) -> Array:
        result = np.zeros(x.shape)
        for index in np.ndindex(*x.shape):
            own = [float(vector[index[1]]) for vector in vectors.values()]
            result[index] = function(float(x[index]), *own)
        return result

    return Case(name, lambda x: getattr(mb, name)(x=x, **vectors), expected, (x,))


def softmax(x: Array, axis: int | None) -> Case:
    """Every line along the axis sums to one."""
    along = -1 if axis is None else axis
    given = {} if axis is None else {"axis": axis}

    def expected(x: Array) -> Array:
        def line(values: Array) -> list[float]:
            powers = [math.exp(v) for v in values]
            return [power / sum(powers) for power in powers]

        return np.apply_along_axis(line, along, x)

    return Case("softmax", lambda x: mb.softmax(x=x, **given), expected, (x,), label=str(axis))


def gelu_tanh(x: float) -> float:
    """The approximation of gelu by a hyperbolic tangent."""
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


CASES = [
    plain("relu", lambda x: max(x, 0)),
    plain("relu6", lambda x: min(max(x, 0), 6)),
    plain("leaky_relu", lambda x: x if x >= 0 else 0.125 * x, alpha=0.125),
    plain("elu", lambda x: x if x > 0 else 0.75 * (math.exp(x) - 1), alpha=0.75),
    plain("clamped_relu", lambda x: min(3.0, x if x >= 0 else 0.5 * x), alpha=0.5, beta=3.0),
    plain("linear_activation", lambda x: 1.5 * x - 0.25, alpha=1.5, beta=-0.25),
    plain("scaled_tanh", lambda x: 1.75 * math.tanh(0.625 * x), alpha=1.75, beta=0.625),
    plain("sigmoid", sigmoid),
    plain("sigmoid_hard", lambda x: min(max(0.2 * x + 0.5, 0), 1), alpha=0.2, beta=0.5),
    plain("silu", lambda x: x * sigmoid(x)),
    plain("softplus", lambda x: math.log(1 + math.exp(x))),
    plain("softsign", lambda x: x / (1 + abs(x))),
    plain("thresholded_relu", lambda x: x if x >= 1.5 else 0, alpha=1.5),
    plain("gelu", lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2)))),
    plain("gelu", lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))), mode="EXACT"),
    plain("gelu", gelu_tanh, mode="TANH_APPROXIMATION"),
    plain("gelu", lambda x: x * sigmoid(1.702 * x), mode="SIGMOID_APPROXIMATION"),
    per_channel("prelu", lambda x, a: x if x > 0 else a * x, IMAGE, alpha=ALPHA),
    per_channel("prelu", lambda x, a: x if x > 0 else a * x, draw(2, 3, 7), alpha=EVEN),
    per_channel(
        "softplus_parametric",
        lambda x, a, b: a * math.log(1 + math.exp(b * x)),
        IMAGE,
        alpha=ALPHA,
        beta=BETA,
    ),
    softmax(X, None),
    softmax(X, -2),
    softmax(IMAGE, 1),
    Case(
        "softmax",
        lambda x: mb.softmax(x=x),
        lambda x: np.array([[0.5, 0.5, 0]]),
        (np.array([[3000, 3000, -3000]], np.float32),),
        label="large",
    ),
    Case(
        "softplus",
        lambda x: mb.softplus(x=x),
        lambda x: np.array([0, math.log(2), 300]),
        (np.array([-300, 0, 300], np.float32),),
        label="large",
    ),
    Case(
        "sigmoid",
        lambda x: mb.sigmoid(x=x),
        lambda x: np.array([0, 0.5, 1]),
        (np.array([-300, 0, 300], np.float32),),
        label="large",
    ),
]


@cases(CASES)
def test_every_element_is_the_formula(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
