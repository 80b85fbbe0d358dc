"""A program as people read it: one line per operation, constants in place, by module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from attnc.runtimes.coreml.graph import Graph, is_constant
from attnc.runtimes.coreml.origins import is_within, origin_of
from attnc.runtimes.coreml.program import Argument, Block, Function, Operation
from attnc.runtimes.coreml.types import Array, DictionaryType, ListType, ValueType

#: Constants of up to this many values are shown whole.
SHOWN = 8


@dataclass(frozen=True)
class Line:
    """One operation; `depth` counts the blocks around it, `inputs` are texts by name."""

    depth: int
    name: str
    kind: str
    outputs: tuple[str, ...]
    inputs: Mapping[str, str]
    module: str
    source: str

    def __str__(self) -> str:
        results = f"{', '.join(self.outputs)} = " if self.outputs else ""
        given = ", ".join(f"{name}={text}" for name, text in self.inputs.items())
        return f"{'  ' * self.depth}{results}{self.kind}({given})"

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def list_operations(function: Function, origins: Mapping[str, Any]) -> list[Line]:
    """Every operation of a function but its constants, nested blocks after their operation."""
    return list(_walk(function.block, 0, Graph(function), origins))


def select(lines: list[Line], operation: str = "", module: str = "") -> list[Line]:
    """The lines whose name or kind contains `operation` and that lie within `module`."""
    return [
        line
        for line in lines
        if (operation in line.name or operation in line.kind)
        and (not module or is_within(line.module, module))
    ]


def as_text(lines: list[Line]) -> list[str]:
    """The lines with a heading wherever the module changes, and source lines behind a `#`."""
    texts: list[str] = []
    module = ""
    for line in lines:
        if line.module and line.module != module:
            module = line.module
            texts += ["", f"-- {module}"]
        texts.append(f"{line}  # {line.source}" if line.source else str(line))
    return texts


def _walk(block: Block, depth: int, graph: Graph, origins: Mapping[str, Any]) -> Iterator[Line]:
    for operation in block.operations:
        if is_constant(operation):
            continue
        yield _line(operation, depth, graph, origins)
        for nested in operation.blocks:
            yield from _walk(nested, depth + 1, graph, origins)


def _line(operation: Operation, depth: int, graph: Graph, origins: Mapping[str, Any]) -> Line:
    outputs = tuple(f"%{value.name}: {type_text(value.type)}" for value in operation.outputs)
    # What is computed comes first; the file itself keeps no order of inputs.
    names = sorted(operation.inputs, key=lambda name: (not graph.given(operation, name), name))
    inputs = {name: _arguments(operation.inputs[name], graph) for name in names}
    held = {name: value_text(value) for name, value in operation.attributes.items()}
    module, source = origin_of(operation, origins)
    return Line(depth, operation.name, operation.type, outputs, inputs | held, module, source)


def _arguments(many: tuple[Argument, ...], graph: Graph) -> str:
    texts = [_argument(argument, graph) for argument in many]
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


def _argument(argument: Argument, graph: Graph) -> str:
    if not argument.name:
        return value_text(argument.value)
    producer = graph.producers.get(argument.name)
    if producer is None or not is_constant(producer):
        return f"%{argument.name}"
    if producer.type == "const":
        return value_text(producer.attributes["val"])
    return f"{type_text(producer.outputs[0].type)} {producer.type}"


def type_text(type_: ValueType) -> str:
    """A type in a few characters."""
    if isinstance(type_, ListType):
        return f"list of {type_.element}"
    if isinstance(type_, DictionaryType):
        return f"{type_.key.dtype} to {type_.value.dtype}"
    return str(type_)


def value_text(value: Any) -> str:
    """A constant: its values where they are few, else its shape, range and share of zeros."""
    if not isinstance(value, np.ndarray):
        return repr(value) if isinstance(value, str) else _sequence(value)
    if value.size > SHOWN:
        return f"{dtype_name(value)}{list(value.shape)} {_spread(value)}"
    return str(_rounded(value.tolist()) if value.dtype.kind == "f" else value.tolist())


def _rounded(values: Any) -> Any:
    """Nested lists of floats with six digits: more are noise of the storage type."""
    return [*map(_rounded, values)] if isinstance(values, list) else float(f"{values:.6g}")


def _sequence(value: Any) -> str:
    many = value if isinstance(value, list) else [value]
    return f"{len(many)} values" if len(many) > SHOWN else str(value)


def _spread(value: Array) -> str:
    if value.dtype.kind not in "fiub":
        return "texts"
    zeros = 1 - np.count_nonzero(value) / value.size
    return f"{float(value.min()):.4g}..{float(value.max()):.4g}, {zeros:.0%} zeros"


def dtype_name(value: Array) -> str:
    """The type of an array's values as programs write it."""
    kinds = {"float16": "fp16", "float32": "fp32", "float64": "fp64"}
    return kinds.get(value.dtype.name, value.dtype.name)
