"""Where two graphs of one model part: the first value of the same name and another content.

Passes and lowerings keep the names of the values that they leave, so no map between graphs is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.compiler.provenance import source_line, torch_module
from attnc.runtimes.proof.float64 import compute64
from attnc.runtimes.proof.metrics import measure

Array = NDArray[Any]
#: Bytes of values that are held at once; a model with more is walked over several times.
MEMORY = 1 << 28
CHANNELS_LAST = ".nhwc"


@dataclass(frozen=True)
class Place:
    """A node and where it comes from; `error` is relative, `limit` what it may be."""

    node: str
    operator: str
    module: str
    source: str
    error: float | None
    limit: float
    value: str = ""

    @classmethod
    def at(cls, node: ir.Node, error: float, limit: float) -> Place:
        """The place of a node."""
        operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        shown = error if np.isfinite(error) else None
        value = str(node.outputs[0].name)
        return cls(
            str(node.name), operator, torch_module(node), source_line(node), shown, limit, value
        )

    @classmethod
    def named(cls, module: str, error: float, limit: float) -> Place:
        """A block of the source of which no node is known."""
        return cls("", "a block", module, "", error if np.isfinite(error) else None, limit)

    def as_json(self) -> dict[str, Any]:
        """The entry of a report."""
        return asdict(self)


def first_difference(
    before: ir.Model, after: ir.Model, feeds: Mapping[str, Array], limit: float
) -> Place | None:
    """The first node of `after`, in its order, whose output `before` has with other content.

    Both run in float64. Values that only one graph has, or has in another layout, are not
    compared. Memory is bounded by `MEMORY` and two graphs at work.
    """
    shared = _shared(before, after)
    for names in _chunks(after, shared):
        wanted = _values(before, feeds, names)
        got = _values(after, feeds, names)
        for node in after.graph:
            for value in node.outputs:
                name = base_name(value)
                laid = laid_like(got.get(name), wanted.get(name))
                if laid is None:
                    continue
                error = measure(laid, wanted[name]).max_relative
                if not error <= limit:
                    return Place.at(node, error, limit)
    return None


def base_name(value: ir.Value) -> str:
    """The value's name in the source; a map that is held channels last has a suffix."""
    return str(value.name).removesuffix(CHANNELS_LAST)


def laid_like(array: Array | None, wanted: Array | None) -> Array | None:
    """The array in the layout of `wanted`, channels last turned; None if it is another tensor."""
    if array is None or wanted is None:
        return None
    if array.shape == wanted.shape:
        return array
    if array.ndim == 4 and array.transpose(0, 3, 1, 2).shape == wanted.shape:
        return np.asarray(array.transpose(0, 3, 1, 2))
    return None


def _shared(before: ir.Model, after: ir.Model) -> set[str]:
    return _floats(before) & _floats(after)


def _floats(model: ir.Model) -> set[str]:
    kinds = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, None)
    return {
        base_name(value) for node in model.graph for value in node.outputs if value.dtype in kinds
    }


def _chunks(model: ir.Model, names: set[str]) -> Iterator[set[str]]:
    chunk: set[str] = set()
    held = 0
    for node in model.graph:
        for value in node.outputs:
            if base_name(value) not in names:
                continue
            chunk.add(base_name(value))
            held += bytes64(value)
            if held > MEMORY:
                yield chunk
                chunk, held = set(), 0
    if chunk:
        yield chunk


def bytes64(value: ir.Value) -> int:
    """What a value takes in float64; a free size counts as one."""
    sizes = [] if value.shape is None else [s if isinstance(s, int) else 1 for s in value.shape]
    return 8 * int(np.prod(sizes, dtype=np.int64))


def _values(model: ir.Model, feeds: Mapping[str, Array], names: set[str]) -> dict[str, Array]:
    found: dict[str, Array] = {}

    def watch(node: ir.Node, given: Sequence[Array | None], made: Sequence[Array]) -> None:
        for value, array in zip(node.outputs, made, strict=False):
            if base_name(value) in names and array.size:
                found.setdefault(base_name(value), array)

    compute64(model, feeds, watch)
    return found
