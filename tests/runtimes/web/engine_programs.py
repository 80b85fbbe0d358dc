"""Programs of one step for the engine, from arrays; and the engine that runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from attnc.runtimes.web.engine import LoadedProgram, WasmModule
from attnc.targets.web import program as form

TYPES = {"float32": form.FLOAT32, "int64": form.INT64, "int32": form.INT32, "bool": form.BOOL}
SINGLE = ("simd", "relaxed")


@cache
def engine_path(simd: str) -> Path:
    """A single-threaded build of the engine, built if it is not up to date."""
    from attnc.runtimes.web.build import build

    return build(f"engine-{simd}.wasm")


@cache
def module(simd: str) -> WasmModule:
    """One instance for all programs of a test file: a program takes the place of the last."""
    return WasmModule(engine_path(simd))


@dataclass
class Layout:
    """Tensors laid out one after the other in both spaces; everything else is derived."""

    tensors: list[form.Tensor] = field(default_factory=list)
    stored: list[form.Stored] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    arena: int = 0

    def constant(self, array: np.ndarray) -> int:
        """A tensor among the weights."""
        offset, kind = len(self.data), TYPES[array.dtype.name]
        self.stored.append(form.Stored(kind, offset, offset, array.size))
        self.data += array.tobytes() + bytes(-array.nbytes % 64)
        self.tensors.append(form.Tensor(form.WEIGHTS, kind, offset, array.shape))
        return len(self.tensors) - 1

    def place(self, array: np.ndarray) -> int:
        """A tensor in the arena with this array's type and sizes."""
        kind = TYPES[array.dtype.name]
        self.tensors.append(form.Tensor(form.ARENA, kind, self.arena, array.shape))
        self.arena += -(-array.nbytes // 64) * 64
        return len(self.tensors) - 1

    def program(self, steps: Sequence[form.Step], inputs: Sequence[int], outputs: Sequence[int]):
        """The program of these steps."""
        size = len(self.data)
        parts = tuple(self.tensors), tuple(self.stored), tuple(steps)
        return form.Program(*parts, tuple(inputs), tuple(outputs), self.arena, size, size)


def one_step(
    operator: str,
    inputs: Sequence[np.ndarray | None],
    outputs: Sequence[np.ndarray],
    attributes: Mapping[str, form.AttributeValue],
) -> tuple[Layout, form.Program]:
    """A program that runs one operator; its first input is the program's, others are weights."""
    layout = Layout()
    first = inputs[0]
    assert first is not None
    numbers = [layout.place(np.asarray(first))]
    numbers += [None if a is None else layout.constant(np.asarray(a)) for a in inputs[1:]]
    made = [layout.place(array) for array in outputs]
    step = form.Step(operator, tuple(numbers), tuple(made), dict(attributes))
    return layout, layout.program([step], numbers[:1], made)


def run_step(
    simd: str,
    operator: str,
    inputs: Sequence[np.ndarray | None],
    outputs: Sequence[np.ndarray],
    attributes: Mapping[str, form.AttributeValue],
) -> list[np.ndarray]:
    """The outputs, whose types and sizes are those of `outputs`; memory begins as NaN."""
    layout, program = one_step(operator, inputs, outputs, attributes)
    loaded = LoadedProgram(module(simd), form.to_bytes(program), bytes(layout.data))
    loaded.put(program.inputs[0], np.asarray(inputs[0]))
    loaded.run()
    return [loaded.get(number) for number in program.outputs]
