"""In which form each value of the graph is held: as it is, or channels first.

Tokens [B,N,C] and pixels [B,H,W,C] are best held as [B,C,h,w] with h*w places (or as [B,C,N]),
which is what convolutions take. A Transpose or Reshape between forms that are both held costs no
operation, and a form that nobody asks for is never made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.passes.graph import Array, const
from attnc.targets.coreml.batch import sizes_of
from attnc.targets.coreml.writer import FREE, Writer, is_var, sizes


@dataclass
class Forms:
    """The forms of all values; `emit` writes the operations that turn one into the other.

    `free` is the graph's name for a batch that is not known now, `source` the input that has it.
    """

    emit: Writer
    free: str | None = None
    source: Any = None
    _plain: dict[ir.Value, Any] = field(default_factory=dict)
    _first: dict[ir.Value, Any] = field(default_factory=dict)
    _memo: dict[Any, Any] = field(default_factory=dict)

    def array(self, value: ir.Value | None) -> Array | None:
        """The constant behind a value; None where it is computed or absent."""
        return const(value)

    def sizes(self, value: ir.Value | None) -> list[int]:
        """The sizes of a value, `FREE` for a free batch. Raises UnsupportedError for others that
        are not known now."""
        found = self.shape(value)
        held = self._plain.get(value) if value is not None else None
        if (found is None or None in found) and is_var(held) and FREE not in sizes(held):
            found = list(sizes(held))
        if found is None or None in found:
            name = value.name if value is not None else "(absent)"
            raise UnsupportedError(
                f"the shape of {name!r} is not known before the model runs",
                where=self.emit.where(),
                remedy="export with --batch N and a fixed --image-size",
            )
        return [int(size) for size in found if size is not None]

    def shape(self, value: ir.Value | None) -> list[int | None] | None:
        """The sizes of a value as far as they are known; None where even the rank is not."""
        return sizes_of(value, self.free)

    def plain(self, value: ir.Value | None) -> Any:
        """The value as the graph has it: an array if constant. Made from channels first if need be.

        None where `value` is None.
        """
        if value is None:
            return None
        array = const(value)
        if array is not None:
            return array.astype(np.int32) if array.dtype == np.int64 else array
        if value not in self._plain:
            self._plain[value] = self._to_plain(value)
        return self._plain[value]

    def first(self, value: ir.Value | None) -> Any:
        """The value as [B,C,h,w] or [B,C,N]; of a constant, an array [B,C,h,w]."""
        assert value is not None  # operators that hold values so have no optional inputs
        array = const(value)
        if array is not None:
            return channels_first(array)
        return self._first_of(value)

    def _first_of(self, value: ir.Value) -> Any:
        if value not in self._first:
            self._first[value] = self._to_first(value)
        return self._first[value]

    def first_at(self, value: ir.Value | None, *plane: int) -> Any:
        """`first`, with these places: [B,C,*plane]."""
        return self.placed(self.first(value), *plane)

    def placed(self, x: Any, *plane: int) -> Any:
        """[B,C,...] with its places in other lines; the same where they are so already."""
        return self.reshape(x, [*sizes(x)[:2], *plane])

    def matrix(self, x: Any) -> Any:
        """[B,C,...] as [B,C,N], for products."""
        return self.placed(x, math.prod(sizes(x)[2:]))

    def reshape(self, x: Any, shape: list[int]) -> Any:
        """x in another shape, made once; what was reshaped before is reshaped from its source."""
        if sizes(x) == tuple(shape):
            return x
        if not is_var(x):
            return x.reshape(shape)
        operation = x.op
        if operation is not None and operation.op_type == "reshape":
            return self.reshape(operation.x, shape)
        return self.once(("reshape", x, tuple(shape)), "reshape", x=x, shape=shape)

    def once(self, key: Any, kind: str, **inputs: Any) -> Any:
        """The operation, emitted only the first time that it is asked for under this key."""
        if key not in self._memo:
            self._memo[key] = self.emit(kind, **inputs)
        return self._memo[key]

    def remember(self, key: Any, make: Any) -> Any:
        """What `make()` gives, the first time."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def claim(self, x: Any) -> bool:
        """Whether this is the first time that somebody wants to give x its own name."""
        if ("name", x) in self._memo:
            return False
        self._memo["name", x] = True
        return True

    def is_first(self, value: ir.Value | None) -> bool:
        """Whether channels first is at hand, so that work is best done in that form."""
        return value is not None and value in self._first

    def set(self, value: ir.Value, x: Any) -> None:
        """Hold the value as the graph has it."""
        self._plain[value] = x

    def set_first(self, value: ir.Value, x: Any) -> None:
        """Hold the value channels first."""
        self._first[value] = x

    def held_plain(self, value: ir.Value) -> bool:
        """Whether the plain form is at hand."""
        return value in self._plain

    def _to_plain(self, value: ir.Value) -> Any:
        wanted, held = self.sizes(value), self._first[value]
        if len(wanted) == 4:
            held = self.placed(held, wanted[1], wanted[2])
            return self.emit("transpose", x=held, perm=[0, 2, 3, 1])
        if 1 in wanted[1:]:
            return self.reshape(held, wanted)
        return self.emit("transpose", x=self.matrix(held), perm=[0, 2, 1])

    def _to_first(self, value: ir.Value) -> Any:
        held, wanted = self._plain[value], self.sizes(value)
        if len(wanted) == 4:
            return self.emit("transpose", x=held, perm=[0, 3, 1, 2])
        batch, rows, channels = wanted
        if rows == 1 or channels == 1:
            return self.reshape(held, [batch, channels, 1, rows])
        turned = self.emit("transpose", x=held, perm=[0, 2, 1])
        return self.reshape(turned, [batch, channels, 1, rows])


def channels_first(array: Array) -> Array:
    """A constant that is combined with tokens or pixels, for their form channels first.

    [C] becomes [1,C,1,1], [B,N,C] becomes [B,C,1,N], [B,H,W,C] becomes [B,C,H,W].
    """
    if array.ndim == 4:
        return array.transpose(0, 3, 1, 2)
    array = array.reshape((1,) * (3 - array.ndim) + array.shape)
    return array.transpose(0, 2, 1)[:, :, None, :]
