"""Operations on pairs of elements of two tensors, which are broadcast to a common shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attnc.compiler.errors import UnsupportedError
from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import Array


def binary(function: Callable[[Any, Any], Any]) -> Callable[[Call], Array]:
    """An operation that applies a NumPy function to its inputs `x` and `y`."""

    def run(call: Call) -> Array:
        return np.asarray(function(call.wide("x"), call.wide("y")))

    return run


def real_div(call: Call) -> Array:
    """x / y; whole numbers must divide, for nothing says how their quotient is rounded."""
    x, y = call.wide("x"), call.wide("y")
    if x.dtype.kind == "f" or y.dtype.kind == "f":
        return np.asarray(x / y)
    if not np.all(y) or np.any(x % y):
        raise UnsupportedError(
            "integers are divided with a remainder, which has no documented result",
            where=f"operation {call.type} '{call.name}'",
            remedy="use floor_div, or cast to float first",
        )
    return np.asarray(x // y)


OPERATIONS: dict[str, Callable[[Call], Array]] = {
    "add": binary(np.add),
    "equal": binary(np.equal),
    "floor_div": binary(np.floor_divide),
    "greater": binary(np.greater),
    "greater_equal": binary(np.greater_equal),
    "less": binary(np.less),
    "less_equal": binary(np.less_equal),
    "logical_and": binary(np.logical_and),
    "logical_or": binary(np.logical_or),
    "logical_xor": binary(np.logical_xor),
    "maximum": binary(np.maximum),
    "minimum": binary(np.minimum),
    "mod": binary(np.mod),
    "mul": binary(np.multiply),
    "not_equal": binary(np.not_equal),
    "pow": binary(np.power),
    "real_div": real_div,
    "sub": binary(np.subtract),
}
