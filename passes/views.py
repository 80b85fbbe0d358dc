"""Which element of its source is each element of a value? Read off by running indices through.

A value is traced back through data movement (and, where asked for, scalar factors and clamps) to
its sources; the chain is then run on index tensors. So any order of reshape, transpose, split,
slice, gather and concat looks the same, and a wrong one is told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.passes.activations import Clamp, clamp_of
from attnc.passes.graph import Refuse, const, is_op, scalar
from attnc.passes.movement import MOVES, apply_move, concrete_shape, data_inputs

Indices = NDArray[np.int64]
#: For a node that leaves elements where they are: the one that it passes on; None for others.
Through = Callable[[ir.Node], "ir.Value | None"]
#: A map that holds for two batch sizes holds for all: every operator is linear in the batch.
PROBES = (2, 3)


@dataclass(frozen=True)
class View:
    """`value` as a rearrangement of `sources`, times `scale`, clamped to `clamp`.

    `nodes` lie between, in topological order, the one that makes `value` last.
    """

    value: ir.Value
    sources: tuple[ir.Value, ...]
    nodes: tuple[ir.Node, ...]
    scale: float = 1.0
    clamp: Clamp | None = None

    @property
    def source(self) -> ir.Value:
        """The only source; refuses if there are several."""
        if len(self.sources) != 1:
            raise Refuse(f"{self.value.name!r} is put together from several values")
        return self.sources[0]

    def batches(self) -> tuple[int, ...]:
        """Batch sizes to look at: the fixed one, or two probes for a symbolic one."""
        sizes = [list(source.shape) for source in self.sources if source.shape]
        first = sizes[0][0] if sizes else None
        fixed = all(isinstance(size, int) for part in sizes for size in part)
        return (first,) if fixed and isinstance(first, int) else PROBES

    def indices(self, batch: int, total: int | None = None) -> Indices:
        """For each element of `value` its flat index into the sources, laid end to end.

        `total` is the number of elements of the only source where its symbolic first size is
        not the batch.
        """
        arrays: dict[ir.Value, Indices] = {}
        offset = 0
        for source in self.sources:
            sizes = concrete_shape(source, batch)
            if total is not None:
                sizes = (total // int(np.prod(sizes[1:], dtype=np.int64)), *sizes[1:])
            count = int(np.prod(sizes, dtype=np.int64))
            arrays[source] = np.arange(offset, offset + count, dtype=np.int64).reshape(sizes)
            offset += count
        for node in self.nodes:
            _run(node, arrays, batch)
        return arrays[self.value]


def _run(node: ir.Node, arrays: dict[ir.Value, Indices], batch: int) -> None:
    if node.op_type in MOVES:
        taken = [arrays[value] for value in data_inputs(node)]
        arrays.update(zip(node.outputs, apply_move(node, taken, batch), strict=True))
        return
    data = next(value for value in node.inputs if value in arrays)
    assert data is not None
    arrays[node.outputs[0]] = arrays[data]


@dataclass
class _Walk:
    """State of a trace: what was passed on the way back."""

    stops: Collection[ir.Value]
    factors: bool
    clamps: bool
    through: Through
    sources: dict[ir.Value, None] = field(default_factory=dict)
    order: dict[ir.Node, None] = field(default_factory=dict)
    seen: dict[ir.Value, tuple[float, frozenset[Clamp]]] = field(default_factory=dict)

    def back(self, value: ir.Value) -> dict[ir.Value, tuple[float, tuple[Clamp, ...]]]:
        """For each source of `value` the factor and the clamps on the way to it."""
        node = value.producer()
        if value in self.stops or node is None or not self._passes(node):
            self.sources[value] = None
            return {value: (1.0, ())}
        found: dict[ir.Value, tuple[float, tuple[Clamp, ...]]] = {}
        factor, clamp = self._effect(node)
        for data in self._data(node):
            for source, (scale, clamps) in self.back(data).items():
                if clamps and factor != 1.0:
                    raise Refuse("a factor after an activation", node)
                effect = (scale * factor, clamps + ((clamp,) if clamp else ()))
                if found.setdefault(source, effect) != effect:
                    raise Refuse("its parts are scaled or clamped differently", node)
        self.order[node] = None
        return found

    def _passes(self, node: ir.Node) -> bool:
        if is_op(node, *MOVES):
            return True
        if self.factors and factor_of(node) is not None:
            return True
        if self.clamps and clamp_of(node) is not None:
            return True
        return self.through(node) is not None

    def _effect(self, node: ir.Node) -> tuple[float, Clamp | None]:
        if is_op(node, *MOVES):
            return 1.0, None
        if self.clamps and (clamp := clamp_of(node)) is not None:
            return 1.0, clamp
        return (factor_of(node) if self.factors else None) or 1.0, None

    def _data(self, node: ir.Node) -> Iterable[ir.Value]:
        passed = None if is_op(node, *MOVES) else self.through(node)
        if passed is not None:
            return [passed]
        if is_op(node, "Mul"):
            return [v for v in node.inputs if v is not None and const(v) is None]
        return data_inputs(node)


def trace(
    value: ir.Value,
    *,
    stops: Collection[ir.Value] = (),
    factors: bool = False,
    clamps: bool = False,
    through: Through = lambda node: None,
) -> View:
    """Follow `value` back to what is computed (or to `stops`).

    With `factors` through multiplications and divisions by one number, with `clamps` through
    ReLU and Clip; all sources must see the same factor and the same clamps, else it refuses.
    Nodes that `through` knows are passed as well; what they do is for the caller to look at.
    """
    walk = _Walk(stops, factors, clamps, through)
    effects = walk.back(value)
    if len(set(effects.values())) != 1:
        raise Refuse("its parts are scaled or clamped differently", value.producer())
    scale, passed = next(iter(effects.values()))
    if len(set(passed)) > 1:
        raise Refuse("several different activations", value.producer())
    clamp = passed[0] if passed else None
    return View(value, tuple(walk.sources), tuple(walk.order), scale, clamp)


def factor_of(node: ir.Node) -> float | None:
    """The number that a Mul or Div multiplies its other operand by; None for anything else."""
    if not is_op(node, "Mul", "Div"):
        return None
    one, other = node.inputs[0], node.inputs[1]
    if is_op(node, "Mul") and scalar(one) is not None:
        one, other = other, one
    number = scalar(other)
    if number is None or const(one) is not None or not _keeps_rank(other, one):
        return None
    if is_op(node, "Mul"):
        return number
    return 1.0 / number if number else None


def _keeps_rank(number: ir.Value | None, data: ir.Value | None) -> bool:
    """A one-element constant of higher rank would add axes."""
    assert number is not None
    assert data is not None
    rank = number.shape.rank() if number.shape is not None else 0
    return rank == 0 or (data.shape is not None and rank <= data.shape.rank())


def token_channels(indices: Indices, sizes: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Channels c for which indices[b, i, c'] is element (b, c[c'], i) of a source of `sizes`.

    `indices` is [B, N, K] (N all positions of the source in their order, K any channels); None
    if it is anything else.
    """
    batch, channels = sizes[0], sizes[1]
    tokens = int(np.prod(sizes[2:], dtype=np.int64))
    flat = np.arange(batch * channels * tokens).reshape(batch, channels, tokens)
    if indices.shape[:2] != (batch, tokens):
        return None
    chosen: NDArray[np.int64] = indices[0, 0, :] // tokens
    if chosen.max() >= channels:
        return None
    same = np.array_equal(indices, flat[:, chosen, :].transpose(0, 2, 1))
    return chosen if same else None
