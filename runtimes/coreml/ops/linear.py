"""Matrix products: linear, matmul and the two equations that einsum knows."""

from __future__ import annotations

import numpy as np

from attnc.compiler.errors import UnsupportedError
from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import Array


def _linear(call: Call) -> Array:
    y: Array = call.wide("x") @ call.wide("weight").T
    return y if call.get("bias") is None else y + call.wide("bias")


def _turned(x: Array, turn: bool) -> Array:
    return x.swapaxes(-1, -2) if turn and x.ndim > 1 else x


def _matmul(call: Call) -> Array:
    x = _turned(call.wide("x"), call.flag("transpose_x", False))
    y = _turned(call.wide("y"), call.flag("transpose_y", False))
    return np.asarray(x @ y)


def _canonical(equation: str) -> str:
    """The equation with its labels renamed in order of appearance."""
    names: dict[str, str] = {}
    for label in equation:
        if label.isalpha():
            names.setdefault(label, "abcdefghijklmnopqrstuvwxyz"[len(names)])
    return "".join(names.get(label, label) for label in equation if label != " ")


def _einsum(call: Call) -> Array:
    equation = call.text("equation")
    if _canonical(equation) not in ("abcd,adce->abce", "abc,cbd->abd"):
        raise UnsupportedError(
            f"einsum has no equation '{equation}'",
            where=f"operation {call.type} '{call.name}'",
            remedy="write it as nchw,nwhu->nchu or chw,whr->chr, or use matmul",
        )
    x, y = (np.asarray(value, np.float32) for value in call["values"])
    # Rows and columns to the last two axes; matmul broadcasts what is before them.
    product: Array = x.swapaxes(-3, -2) @ y.swapaxes(-3, -2)
    return product.swapaxes(-3, -2)


OPERATIONS = {"linear": _linear, "matmul": _matmul, "einsum": _einsum}
