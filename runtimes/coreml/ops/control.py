"""Choices, loops, lists and the classifier: operations that compute little themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import STORAGE, Array


def select(call: Call) -> Array:
    """`a` where `cond` holds, else `b`; without these, the indices where it holds."""
    if "a" not in call:
        return np.asarray(np.argwhere(call["cond"]))
    return np.asarray(np.where(call["cond"], call["a"], call["b"]))


def cond(call: Call) -> tuple[Any, ...]:
    """The results of the first block where `pred` holds, else of the second."""
    return call.run_block(0 if call.flag("pred") else 1, ())


def while_loop(call: Call) -> tuple[Any, ...]:
    """The loop variables, renewed by the second block while the first one holds."""
    values = tuple(call["loop_vars"])
    while bool(np.asarray(call.run_block(0, values)[0]).reshape(())):
        values = call.run_block(1, values)
    return values


def identity(call: Call) -> Any:
    """The input."""
    return call["x"]


def classify(call: Call) -> tuple[Any, dict[Any, float]]:
    """The most probable class, and the probability of each."""
    chances = call["probabilities"].reshape(-1)
    classes = [each if isinstance(each, str) else int(each) for each in call["classes"]]
    best = classes[int(np.argmax(chances))]
    label = best if isinstance(best, str) else np.array(best, np.int64)
    return label, dict(zip(classes, map(float, chances), strict=True))


def make_list(call: Call) -> list[Array]:
    """A list of zeros."""
    shape = [int(size) for size in call["elem_shape"]]
    empty: Array = np.zeros(shape, STORAGE[call.text("dtype", "fp32")])
    return [empty] * call.int("init_length", 1)


def written(entries: list[Array], index: int, value: Array) -> list[Array]:
    """The list with one entry replaced; it grows where the index lies past its end."""
    if index < 0:
        raise IndexError(f"the index {index} is negative")
    grown = entries + [np.zeros_like(value)] * (index + 1 - len(entries))
    return [*grown[:index], value, *grown[index + 1 :]]


def list_write(call: Call) -> list[Array]:
    """The list with `value` at `index`."""
    return written(call["ls"], call.int("index"), call["value"])


def list_scatter(call: Call) -> list[Array]:
    """The list with the entries of `value` at `indices`."""
    entries: list[Array] = call["ls"]
    for index, value in zip(call.ints("indices"), call["value"], strict=True):
        entries = written(entries, index, np.asarray(value))
    return entries


def list_read(call: Call) -> Array:
    """The entry at `index`."""
    entry: Array = call["ls"][call.int("index")]
    return entry


def list_gather(call: Call) -> Array:
    """The entries at `indices`, stacked."""
    return np.stack([call["ls"][index] for index in call.ints("indices")])


def list_length(call: Call) -> Array:
    """The number of entries."""
    return np.array(len(call["ls"]), np.int32)


OPERATIONS: dict[str, Callable[[Call], Any]] = {
    "classify": classify,
    "cond": cond,
    "identity": identity,
    "list_gather": list_gather,
    "list_length": list_length,
    "list_read": list_read,
    "list_scatter": list_scatter,
    "list_write": list_write,
    "make_list": make_list,
    "select": select,
    "while_loop": while_loop,
}
