"""Operations on each element of one tensor: arithmetic, rounding, trigonometry, casts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import STORAGE, Array


def unary(function: Callable[[Any], Any]) -> Callable[[Call], Array]:
    """An operation that applies a NumPy function to its input `x`."""

    def run(call: Call) -> Array:
        return np.asarray(function(call.wide("x")))

    return run


def erf(x: Array) -> Array:
    """The Gauss error function, in double precision."""
    import torch

    return np.asarray(torch.special.erf(torch.from_numpy(np.asarray(x, np.float64))).numpy())


def cast(call: Call) -> Array:
    """`x` in another type: floats lose their fraction, and integers are held at their limits."""
    x, storage = call["x"], np.dtype(STORAGE[call.text("dtype")])
    if storage.kind not in "iu" or x.dtype.kind != "f":
        return np.asarray(x.astype(storage))
    limits = np.iinfo(storage)
    whole = np.trunc(np.nan_to_num(x.astype(np.float64), nan=0.0))
    return np.asarray(np.clip(whole, limits.min, limits.max).astype(storage))


def clip(call: Call) -> Array:
    """`x` held between `alpha` and `beta`."""
    return np.asarray(np.minimum(np.maximum(call.wide("x"), call.wide("alpha")), call.wide("beta")))


def threshold(call: Call) -> Array:
    """`x`, at least `alpha`."""
    return np.asarray(np.maximum(call.wide("x"), call.wide("alpha")))


def exp2(call: Call) -> Array:
    """2 to the power of `x`; whole for whole exponents."""
    x = call.wide("x")
    return np.asarray(np.exp2(x) if x.dtype.kind == "f" else np.power(2, x.astype(np.int64)))


def shifted(call: Call, default: float) -> Array:
    """`x` + `epsilon`, whose default is rounded to the type of `x`: it may vanish in half."""
    given = "epsilon" in call
    epsilon = call.wide("epsilon") if given else call["x"].dtype.type(default).astype(np.float32)
    return np.asarray(call.wide("x") + epsilon)


def inverse(call: Call) -> Array:
    """1 / (x + epsilon)."""
    return np.asarray(1 / shifted(call, 1e-4))


def log(call: Call) -> Array:
    """log(x + epsilon)."""
    return np.asarray(np.log(shifted(call, 1e-45)))


def rsqrt(call: Call) -> Array:
    """1 / sqrt(x + epsilon)."""
    return np.asarray(1 / np.sqrt(shifted(call, 1e-12)))


OPERATIONS: dict[str, Callable[[Call], Array]] = {
    "abs": unary(np.abs),
    "acos": unary(np.arccos),
    "asin": unary(np.arcsin),
    "atan": unary(np.arctan),
    "atanh": unary(np.arctanh),
    "cast": cast,
    "ceil": unary(np.ceil),
    "clip": clip,
    "cos": unary(np.cos),
    "cosh": unary(np.cosh),
    "erf": unary(erf),
    "exp": unary(np.exp),
    "exp2": exp2,
    "floor": unary(np.floor),
    "inverse": inverse,
    "log": log,
    "logical_not": unary(np.logical_not),
    "round": unary(np.rint),
    "rsqrt": rsqrt,
    "sign": unary(np.sign),
    "sin": unary(np.sin),
    "sinh": unary(np.sinh),
    "sqrt": unary(np.sqrt),
    "square": unary(np.square),
    "tan": unary(np.tan),
    "threshold": threshold,
}
