"""Emits MIL operations one by one: their names, their float types, and where they come from.

In half precision every operation computes in float16 but those that are kept and those with a
constant that float16 does not hold; a value that is read in another type is cast once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.pipeline import NearMiss
from attnc.compiler.provenance import describe, torch_module
from attnc.passes.precision.low import LOWS
from attnc.targets.coreml.versions import oldest

if TYPE_CHECKING:
    import onnx_ir as ir

#: Finite numbers from here on stand for infinity, as masks have them: they are cut to what fits.
_BOUNDLESS = 1e30
#: The size of an axis that is known only when the model runs: the batch of several allowed ones.
#: A reshape to it takes what is left.
FREE = -1
#: Names of inputs that say how and not what: their type is not that of the data.
_STEERING = {"epsilon"}


@dataclass(frozen=True)
class Origin:
    """The node of the graph that an operation was made for."""

    node: str
    module: str
    source: str

    @classmethod
    def of(cls, node: ir.Node) -> Origin:
        """As the manifest names it."""
        place = NearMiss.at(node, "")
        return cls(place.node, place.module, place.source)


@dataclass
class Writer:
    """`opset` is the iOS version; `kept` names the operations that stay in float32, and why.

    Afterwards `origins` tells of each operation where it comes from, `wide` of each that computes
    in float32 in spite of `half` the reason.
    """

    opset: int
    half: bool = False
    kept: Mapping[str, str] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    wide: dict[str, str] = field(default_factory=dict)
    node: ir.Node | None = None
    _casts: dict[tuple[Any, str], Any] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def __call__(self, kind: str, /, **inputs: Any) -> Any:
        """One operation; arrays and numbers among its inputs become constants.

        Returns its output, or a tuple of several. Raises UnsupportedError naming the node if the
        iOS version lacks the operation or it does not take such inputs.
        """
        from coremltools.converters.mil.mil import Builder

        self._check_version(kind)
        name = self._fresh(kind)
        given = {key: value for key, value in inputs.items() if value is not None}
        reason = self.kept.get(name) or _misfit(given) if self.half else None
        if reason:
            self.wide[name] = reason
        dtype = "fp16" if self.half and not reason else "fp32"
        given = {key: self._typed(value, dtype) for key, value in given.items()}
        return self._build(getattr(Builder, kind), kind, {"name": name, **given})

    def cast(self, x: Any, dtype: str) -> Any:
        """x in another type, cast once however often it is asked for."""
        if type_name(x) == dtype:
            return x
        key = (x, dtype)
        if key not in self._casts:
            from coremltools.converters.mil.mil import Builder

            given = {"name": self._fresh(f"to_{dtype}"), "x": x, "dtype": dtype}
            self._casts[key] = self._build(Builder.cast, "cast", given)
        return self._casts[key]

    def where(self) -> str:
        """The node in the words of messages."""
        return describe(self.node) if self.node is not None else "the program's input"

    def _build(self, operation: Any, kind: str, given: dict[str, Any]) -> Any:
        try:
            result = operation(**given)
        except (ValueError, TypeError, NotImplementedError, AssertionError) as error:
            raise UnsupportedError(
                f"Core ML does not take this {kind}: {error}",
                where=self.where(),
                remedy="write that part of the model with other operators or sizes",
            ) from error
        if self.node is not None:
            self.origins[given["name"]] = Origin.of(self.node)
        return result

    def _check_version(self, kind: str) -> None:
        first = oldest(kind)
        if first > self.opset:
            raise UnsupportedError(
                f"iOS {self.opset} has no {kind}; the oldest that has it is iOS {first}",
                where=self.where(),
                remedy=f"take a profile whose deployment target is iOS {first} or newer",
            )

    def _fresh(self, kind: str) -> str:
        stem = "input"
        if self.node is not None:
            stem = torch_module(self.node) or self.node.name or self.node.op_type
        stem = re.sub(r"\W+", "_", f"{stem}_{kind}", flags=re.ASCII).strip("_")
        stem = stem if not stem[0].isdigit() else f"op_{stem}"
        count = self._counts.get(stem, 0)
        self._counts[stem] = count + 1
        return f"{stem}_{count}"

    def _typed(self, value: Any, dtype: str) -> Any:
        if isinstance(value, (list, tuple)) and any(is_var(item) for item in value):
            return [self._typed(item, dtype) for item in value]
        if is_var(value):
            return self.cast(value, dtype) if type_name(value) in ("fp16", "fp32") else value
        kind: Any = np.float16 if dtype == "fp16" else np.float32
        if isinstance(value, float):
            return kind(_bounded(np.asarray(value), dtype))
        if isinstance(value, (np.ndarray, np.generic)):
            return _constant(np.asarray(value), kind, dtype)
        return value


def is_var(value: Any) -> bool:
    """Whether it is computed (or a constant of the program), not an array."""
    return hasattr(value, "sym_type")


def type_name(x: Any) -> str:
    """ "fp16", "fp32", "int32", "bool" ..."""
    from coremltools.converters.mil.mil.types import builtin_to_string

    return str(builtin_to_string(x.dtype))


def sizes(x: Any) -> tuple[int, ...]:
    """The shape of a value or an array; `FREE` for an axis that is not known now."""
    return tuple(int(size) if isinstance(size, (int, np.integer)) else FREE for size in x.shape)


def volume(shape: Iterable[int]) -> int:
    """The product of sizes; `FREE` if one of them is."""
    found = list(shape)
    return FREE if FREE in found else math.prod(found)


def _constant(array: Any, kind: Any, dtype: str) -> Any:
    if array.dtype.kind == "f":
        return _bounded(array, dtype).astype(kind)
    return array.astype(np.int32) if array.dtype in (np.int64, np.uint64, np.uint32) else array


def _bounded(array: Any, dtype: str) -> Any:
    largest = LOWS["fp16"].largest if dtype == "fp16" else float(np.finfo(np.float32).max)
    return np.where(np.isfinite(array), np.clip(array, -largest, largest), array)


def _misfit(inputs: Mapping[str, Any]) -> str | None:
    """Why float16 does not hold the constants of an operation."""
    for key, value in inputs.items():
        items: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value]
        for item in items:
            if key not in _STEERING and isinstance(item, (float, np.ndarray, np.floating)):
                reason = _array_misfit(np.asarray(item))
                if reason:
                    return f"{reason} ({key})"
    return None


def _array_misfit(array: Any) -> str | None:
    if array.dtype.kind != "f" or not array.size:
        return None
    size = np.abs(array[np.isfinite(array) & (np.abs(array) < _BOUNDLESS)])
    top = float(size.max()) if size.size else 0.0
    low = LOWS["fp16"]
    if top > low.largest:
        return f"a constant of {top:.3g} overflows float16"
    if 0 < top < low.smallest:
        return f"a constant of {top:.3g} vanishes in float16"
    return None
