"""What the function of an operation sees: its arguments by name, and the types it must give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from attnc.compiler.errors import UsageError
from attnc.runtimes.coreml.types import ValueType

RunBlock = Callable[[int, Sequence[Any]], tuple[Any, ...]]
Whole: TypeAlias = int  # in the class below, `int` is a method


@dataclass(frozen=True)
class Call:
    """One operation at work; `values` are its inputs and attributes by name.

    A tensor is an array, a string a str, an input of several values a list of those. `opset` is
    the iOS version of the operation set. `run_block(index, values)` runs a nested block.
    """

    type: str
    name: str
    values: Mapping[str, Any]
    outputs: tuple[ValueType, ...]
    opset: Whole
    run_block: RunBlock

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            raise UsageError(
                f"the operation lacks its input '{name}'",
                where=f"operation {self.type} '{self.name}'",
                remedy="convert the model again",
            )
        return self.values[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The input as it is, or `default` where it is not given."""
        return self.values.get(name, default)

    def wide(self, name: str) -> Any:
        """The input with fp16 widened to float32; other types, and lists of them, as they are."""
        value = self[name]
        return [widened(each) for each in value] if isinstance(value, list) else widened(value)

    def int(self, name: str, default: Whole | None = None) -> Whole:
        """A whole number."""
        return int(self._scalar(name, default))

    def ints(self, name: str, default: Sequence[Whole] | None = None) -> tuple[Whole, ...]:
        """Whole numbers; one alone counts as a sequence of one."""
        value = self[name] if default is None or name in self.values else default
        return tuple(int(each) for each in np.asarray(value).reshape(-1))

    def flag(self, name: str, default: bool | None = None) -> bool:
        """A truth value."""
        return bool(self._scalar(name, default))

    def number(self, name: str, default: float | None = None) -> float:
        """A number."""
        return float(self._scalar(name, default))

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        return str(self[name] if default is None or name in self.values else default)

    def _scalar(self, name: str, default: Any) -> Any:
        value = self[name] if default is None or name in self.values else default
        return np.asarray(value).reshape(()).item()


def widened(value: Any) -> Any:
    """Half precision as float32, everything else untouched."""
    is_half = isinstance(value, np.ndarray) and value.dtype == np.float16
    return value.astype(np.float32) if is_half else value
