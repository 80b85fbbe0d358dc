"""What a float32 program's operations give and take on real inputs: float16 must hold it.

Per operation: "largest" and "read", the largest magnitudes among its results and inputs;
"squares", the largest square of a deviation that a norm averages, or the largest sum of squares
that a length is the root of; "variance", the least one that the operation's "epsilon" is added to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnc.runtimes.coreml.evaluator import Evaluator
from attnc.runtimes.coreml.package import open_package
from attnc.runtimes.coreml.program import Operation
from attnc.runtimes.coreml.types import Array

#: Norms over axes, whether the mean is taken off first.
_NORMS = {"layer_norm": True, "reduce_l2_norm": False, "reduce_sum_square": False}
#: Operations that add an epsilon to their input as it is.
_PLAIN_EPSILON = ("rsqrt", "inverse", "log")
#: From here on numbers stand for infinity; float16 programs have its own ends instead.
BOUNDLESS = 1e30
_EVERYWHERE = ("instance_norm", "l2_norm")


def record_ranges(path: Path, inputs: Sequence[Array]) -> dict[str, dict[str, float]]:
    """Readings by operation, the extremes over all inputs, each for the program's first input."""
    package = open_package(path)
    evaluator = Evaluator(package)
    recorder = _Recorder(evaluator)
    name = package.inputs[0].name
    dtype = np.float16 if package.inputs[0].dtype == "fp16" else np.float32
    for array in inputs:
        recorder.start(name, array)
        evaluator.run({name: array.astype(dtype)}, recorder.see)
    return recorder.found


class _Recorder:
    def __init__(self, evaluator: Evaluator) -> None:
        operations = list(evaluator.function.block.walk())
        self.constants = {
            operation.outputs[0].name: operation.attributes["val"]
            for operation in operations
            if operation.type == "const"
        }
        watched = (*_NORMS, *_PLAIN_EPSILON, *_EVERYWHERE)
        self.wanted = {_source(o) for o in operations if o.type in watched}
        self.found: dict[str, dict[str, float]] = {}
        self.held: dict[str, Array] = {}
        self.sizes: dict[str, float] = {}

    def start(self, name: str, array: Array) -> None:
        """Before a run: its input."""
        self.held.clear()
        self._keep(name, array)

    def see(self, operation: Operation, results: tuple[Array, ...]) -> None:
        """An operation with its results."""
        for value, result in zip(operation.outputs, results, strict=True):
            self._keep(value.name, result)
        reading = {
            "largest": max(self.sizes.get(value.name, 0.0) for value in operation.outputs),
            "read": max((self.sizes.get(name, 0.0) for name in _names(operation)), default=0.0),
        }
        if _source(operation) in self.held:
            reading |= self._inner(operation, self.held[_source(operation)])
        self._merge(operation.name, reading)

    def _keep(self, name: str, array: Any) -> None:
        if isinstance(array, np.ndarray) and array.dtype.kind == "f":
            self.sizes[name] = magnitude(array)
            if name in self.wanted:
                self.held[name] = array

    def _inner(self, operation: Operation, x: Array) -> dict[str, float]:
        epsilon = float(self._constant(operation, "epsilon", 0.0))
        x = x.astype(np.float64)
        if operation.type in _PLAIN_EPSILON:
            return {"epsilon": epsilon, "variance": float(np.abs(x).min())}
        if operation.type == "instance_norm":
            least = float(x.var(axis=tuple(range(2, x.ndim))).min())
            return {"epsilon": epsilon, "variance": least}
        if operation.type == "l2_norm":
            return {"epsilon": epsilon, "squares": float((x * x).sum(axis=(-3, -2, -1)).max())}
        if operation.type not in _NORMS:
            return {}
        axes = self._axes(operation, x.ndim)
        if not _NORMS[operation.type]:
            return {"squares": float((x * x).sum(axis=axes).max())}
        squares = np.square(x - x.mean(axis=axes, keepdims=True))
        variance = float(squares.mean(axis=axes).min())
        return {"epsilon": epsilon, "variance": variance, "squares": float(squares.max())}

    def _axes(self, operation: Operation, rank: int) -> tuple[int, ...]:
        axes = self._constant(operation, "axes", range(rank))
        return tuple(int(axis) % rank for axis in np.ravel(axes))

    def _constant(self, operation: Operation, name: str, default: Any) -> Any:
        arguments = operation.inputs.get(name, ())
        if not arguments:
            return default
        argument = arguments[0]
        return self.constants.get(argument.name, default) if argument.name else argument.value

    def _merge(self, name: str, reading: Mapping[str, float]) -> None:
        known = self.found.setdefault(name, dict(reading))
        for key, value in reading.items():
            known[key] = min(known[key], value) if key == "variance" else max(known[key], value)


def magnitude(array: Array) -> float:
    """The largest magnitude among real numbers: masks write the ends of float32 for infinity."""
    size = np.abs(array)
    return float(np.max(size, where=size < BOUNDLESS, initial=0.0))


def _source(operation: Operation) -> str:
    """The name of an operation's input x."""
    arguments = operation.inputs.get("x", ())
    return arguments[0].name if arguments else ""


def _names(operation: Operation) -> list[str]:
    return [each.name for arguments in operation.inputs.values() for each in arguments if each.name]
