"""Holds an operation's results against the types that the program declares for them.

Functions compute in float32 and int64; here is where their results are rounded, once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from attnc.compiler.errors import ParityError
from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.program import Operation, Value
from attnc.runtimes.coreml.types import Array, DictionaryType, ListType, TensorType

#: Inputs by which an operation states the type of its first result.
STATED = ("dtype", "output_dtype")


def settle(operation: Operation, call: Call, given: Any) -> tuple[Any, ...]:
    """The results in their declared types.

    Raises ParityError where count, type or shape differ from what the program declares.
    """
    results = given if isinstance(given, tuple) else (given,)
    if len(results) != len(operation.outputs):
        count = len(operation.outputs)
        raise _differs(operation, f"gives {len(results)} results where {count} are declared")
    check_types(operation, call)
    pairs = zip(operation.outputs, results, strict=True)
    return tuple(settle_one(operation, output, result) for output, result in pairs)


def check_types(operation: Operation, call: Call) -> None:
    """Refuses a declared type that the operation's own inputs rule out."""
    declared = [each.type for each in operation.outputs if isinstance(each.type, TensorType)]
    stated = next((call.text(name).lower() for name in STATED if name in call), None)
    if stated is not None:
        if declared and declared[0].dtype != stated:
            raise _differs(operation, f"makes {stated}, declared is {declared[0]}")
        return
    known = set(float_types(call.values.values()))
    for type_ in declared:
        if known and type_.dtype in ("fp16", "fp32") and type_.dtype not in known:
            raise _differs(operation, f"gets {' and '.join(known)}, declared is {type_}")


def float_types(values: Iterable[Any]) -> Iterable[str]:
    """The names of the floating point types among arrays and lists of arrays."""
    for value in values:
        if isinstance(value, list):
            yield from float_types(value)
        elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
            yield {2: "fp16", 4: "fp32"}.get(value.dtype.itemsize, "fp64")


def settle_one(operation: Operation, output: Value, result: Any) -> Any:
    """One result in its declared type."""
    type_ = output.type
    if isinstance(type_, ListType | DictionaryType):
        want = list if isinstance(type_, ListType) else dict
        if not isinstance(result, want):
            raise _differs(operation, f"gives no {want.__name__} for '{output.name}'")
        return result
    if type_.dtype == "string":
        if not isinstance(result, str | np.ndarray):
            raise _differs(operation, f"gives no string for '{output.name}'")
        return result
    array = narrowed(operation, type_, np.asarray(result))
    if not type_.fits(array.shape):
        raise _differs(operation, f"gives the shape {list(array.shape)}, declared is {type_}")
    return array


def narrowed(operation: Operation, type_: TensorType, array: Array) -> Array:
    """Float32 and int64 results in the declared width; others must have their type already."""
    storage = type_.storage
    if array.dtype == storage:
        return array
    if array.dtype in (np.float32, np.float64) and storage.kind == "f":
        with np.errstate(over="ignore", under="ignore"):
            return array.astype(storage)
    if array.dtype == np.int64 and storage.kind in "iu":
        exact: Array = array.astype(storage)
        if np.array_equal(exact, array):
            return exact
    raise _differs(operation, f"gives {array.dtype}, declared is {type_}")


def _differs(operation: Operation, what: str) -> ParityError:
    return ParityError(
        f"the program declares another type than its operation gives: {operation} {what}",
        where=str(operation),
        remedy="convert the model again; a tool has written a wrong type",
    )
