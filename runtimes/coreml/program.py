"""An ML program as plain data: functions, blocks, operations and the values between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from attnc.runtimes.coreml.types import DictionaryType, ListType, TensorType, ValueType

__all__ = ["DictionaryType", "ListType", "TensorType", "ValueType"]


@dataclass(frozen=True)
class Value:
    """A named result or input."""

    name: str
    type: ValueType


@dataclass(frozen=True)
class Argument:
    """One argument of an operation: the name of a value, or else a literal of type `dtype`."""

    name: str = ""
    value: Any = None
    dtype: str = ""


@dataclass(frozen=True)
class Operation:
    """One operation; `attributes` holds literals, such as a constant's "val"."""

    type: str
    name: str
    inputs: Mapping[str, tuple[Argument, ...]]
    outputs: tuple[Value, ...]
    attributes: Mapping[str, Any]
    blocks: tuple[Block, ...]

    def __str__(self) -> str:
        return f"operation {self.type} '{self.name}'"


@dataclass(frozen=True)
class Block:
    """Operations in order; `outputs` names the values that leave the block."""

    inputs: tuple[Value, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]

    def walk(self) -> Iterator[Operation]:
        """Every operation, those of nested blocks too."""
        for operation in self.operations:
            yield operation
            for block in operation.blocks:
                yield from block.walk()


@dataclass(frozen=True)
class Function:
    """A function; `opset` is the iOS version whose operations it uses."""

    name: str
    opset: int
    inputs: tuple[Value, ...]
    block: Block


@dataclass(frozen=True)
class Program:
    """The functions by name."""

    functions: Mapping[str, Function]
