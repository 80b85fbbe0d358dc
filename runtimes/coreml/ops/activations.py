"""Activation functions, element by element, and softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attnc.compiler.errors import UnsupportedError
from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.ops.elementwise import erf, unary
from attnc.runtimes.coreml.types import Array

Activation = Callable[[Any, Any, Any], Any]


def with_parameters(function: Activation) -> Callable[[Call], Array]:
    """An operation of `x`, `alpha` and, where it has one, `beta`."""

    def run(call: Call) -> Array:
        beta = call.wide("beta") if "beta" in call else None
        return np.asarray(function(call.wide("x"), call.wide("alpha"), beta))

    return run


def per_channel(function: Activation) -> Callable[[Call], Array]:
    """As above, with a parameter per entry of the second axis of `x`."""

    def run(call: Call) -> Array:
        x = call.wide("x")
        along = (-1, *[1] * (x.ndim - 2))
        beta = call.wide("beta").reshape(along) if "beta" in call else None
        return np.asarray(function(x, call.wide("alpha").reshape(along), beta))

    return run


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return np.asarray(1 / (1 + np.exp(-x)))


def gelu(call: Call) -> Array:
    """x times the normal distribution function, exact or by one of two approximations."""
    x, mode = call.wide("x"), call.text("mode", "EXACT")
    if mode == "EXACT":
        return np.asarray(0.5 * x * (1 + erf(x / np.sqrt(2))))
    if mode == "TANH_APPROXIMATION":
        inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)
        return np.asarray(np.float32(0.5) * x * (1 + np.tanh(inner)))
    if mode == "SIGMOID_APPROXIMATION":
        return np.asarray(x * sigmoid(np.float32(1.702) * x))
    raise UnsupportedError(
        f"gelu has no mode {mode}", where=f"operation gelu '{call.name}'", remedy="use EXACT"
    )


def softmax(call: Call) -> Array:
    """Exponentials along `axis`, divided by their sum."""
    x, axis = call.wide("x"), call.int("axis", -1)
    raised = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(raised / raised.sum(axis, keepdims=True))


OPERATIONS: dict[str, Callable[[Call], Array]] = {
    "clamped_relu": with_parameters(lambda x, a, b: np.minimum(b, np.where(x >= 0, x, a * x))),
    "elu": with_parameters(lambda x, a, _: np.where(x > 0, x, a * np.expm1(x))),
    "gelu": gelu,
    "leaky_relu": with_parameters(lambda x, a, _: np.where(x >= 0, x, a * x)),
    "linear_activation": with_parameters(lambda x, a, b: a * x + b),
    "prelu": per_channel(lambda x, a, _: np.where(x > 0, x, a * x)),
    "relu": unary(lambda x: np.maximum(x, 0)),
    "relu6": unary(lambda x: np.clip(x, 0, 6)),
    "scaled_tanh": with_parameters(lambda x, a, b: a * np.tanh(b * x)),
    "sigmoid": unary(sigmoid),
    "sigmoid_hard": with_parameters(lambda x, a, b: np.clip(a * x + b, 0, 1)),
    "silu": unary(lambda x: x * sigmoid(x)),
    "softmax": softmax,
    "softplus": unary(lambda x: np.logaddexp(0, x)),
    "softplus_parametric": per_channel(lambda x, a, b: a * np.logaddexp(0, b * x)),
    "softsign": unary(lambda x: x / (1 + np.abs(x))),
    "tanh": unary(np.tanh),
    "thresholded_relu": with_parameters(lambda x, a, _: np.where(x >= a, x, 0)),
}
