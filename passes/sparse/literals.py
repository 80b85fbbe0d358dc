"""Which choice stands behind each element of a mask, read off symbolically.

Every element of a mask is a literal: false, true, or "entry i of a choice" or its negation. Moves,
casts, comparisons and joins with constants keep literals, so that masks that are written in
different ways can be compared exactly, and the ones in them counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.passes.graph import Refuse, attribute, const, input_at, ints, is_op, scalar
from attnc.passes.movement import MOVES, apply_move, concrete_shape, data_inputs
from attnc.passes.sparse.fills import fill_of

Array = NDArray[np.int64]
FALSE, TRUE = 0, 1
_COMPARE = {
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Equal": np.equal,
}


@dataclass(frozen=True)
class Choice:
    """Literals `first` to `first + length - 1` are one row of a choice, `ones` of them true."""

    first: int
    length: int
    ones: int


def negated(literals: Array) -> Array:
    """The opposite of each literal."""
    constant = (literals == FALSE) | (literals == TRUE)
    return np.where(constant, TRUE - literals, -literals)


class Literals:
    """The literals of the masks of a graph; `batch` stands for symbolic batch sizes."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.known: dict[ir.Value, Array] = {}
        self.choices: list[Choice] = []
        self._next = TRUE + 1

    def of(self, value: ir.Value | None) -> Array:
        """The literals of a mask of booleans, or of ones and zeros; refuses anything else."""
        if value is None:
            raise Refuse("an input of a mask is left out")
        if value not in self.known:
            self.known[value] = self._read(value)
        return self.known[value]

    def count(self, literals: Array) -> int | None:
        """How many are true, whatever is chosen; None where that depends on the choice."""
        rest = literals[literals != FALSE]
        total = int((rest == TRUE).sum())
        rest = np.sort(rest[rest != TRUE])
        for row in self.choices:
            inside = rest[(rest >= row.first) & (rest < row.first + row.length)]
            if not len(inside):
                continue
            whole = np.arange(row.first, row.first + row.length)
            if not np.array_equal(inside, whole):
                return None
            total, rest = total + row.ones, rest[(rest < row.first) | (rest > whole[-1])]
        return None if len(rest) else total

    def _read(self, value: ir.Value) -> Array:
        array, number, node = const(value), fill_of(value), value.producer()
        if array is not None or number is not None:
            held = array if array is not None else np.array(number)
            if not np.isin(held, (0, 1)).all():
                raise Refuse(f"{value.name!r} is no mask: it holds other numbers than 0 and 1")
            return np.broadcast_to(held.astype(np.int64), concrete_shape(value, self.batch))
        if node is None:
            raise Refuse(f"{value.name!r} is an input of the graph, not a choice of tokens")
        found = self._computed(node, value)
        if found is None and value.dtype == ir.DataType.BOOL:
            found = self._fresh(concrete_shape(value, self.batch), None)
        if found is None:
            raise Refuse(f"{value.name!r} is not known to be a mask", node)
        return found

    def _computed(self, node: ir.Node, value: ir.Value) -> Array | None:
        if is_op(node, *MOVES):
            taken = [self.of(part) for part in data_inputs(node)]
            moved = apply_move(node, taken, self.batch)
            return np.asarray(moved[list(node.outputs).index(value)])
        for op_types, read in (
            (("Cast", "Not", "And", "Mul", "Or"), self._logic),
            (tuple(_COMPARE), self._compared),
            (("Where",), self._where),
            (("ScatterElements",), self._scattered),
        ):
            if is_op(node, *op_types):
                return read(node)
        return None

    def _logic(self, node: ir.Node) -> Array:
        literals = [self.of(value) for value in node.inputs]
        if is_op(node, "Cast", "Not"):
            return negated(literals[0]) if node.op_type == "Not" else literals[0]
        if is_op(node, "Or"):
            return negated(self._joined(negated(literals[0]), negated(literals[1])))
        return self._joined(literals[0], literals[1])

    def _compared(self, node: ir.Node) -> Array | None:
        """A comparison of a mask with a number, which keeps it, turns it over, or says nothing."""
        number, data, mirrored = scalar(node.inputs[1]), node.inputs[0], False
        if number is None:
            number, data, mirrored = scalar(node.inputs[0]), node.inputs[1], True
        if number is None:
            return None
        try:
            literals = self.of(data)
        except Refuse:
            return None  # a comparison of scores: a choice of its own
        compare = _COMPARE[node.op_type]
        at = [bool(compare(number, x) if mirrored else compare(x, number)) for x in (0.0, 1.0)]
        if at[0] == at[1]:
            return np.full_like(literals, TRUE if at[0] else FALSE)
        return literals if at[1] else negated(literals)

    def _where(self, node: ir.Node) -> Array | None:
        """Where(mask, 1, 0), or one mask where another one holds."""
        condition = self.of(node.inputs[0])
        for place, other in ((2, 1), (1, 2)):
            if fill_of(node.inputs[place]) == 0:
                kept = condition if place == 2 else negated(condition)
                return self._joined(kept, self.of(node.inputs[other]))
        return None

    def _scattered(self, node: ir.Node) -> Array | None:
        """Ones scattered to the places of the largest of each row."""
        top, shift = _top_of(node.inputs[1])
        sizes = concrete_shape(node.outputs[0], self.batch)
        axis = attribute(node, "axis", 0) % len(sizes)
        if top is None or attribute(node, "reduction", "none") != "none":
            return None
        ranked = concrete_shape(top.inputs[0], self.batch) if top.inputs[0] else ()
        last = len(sizes) - 1 == axis == attribute(top, "axis", -1) % len(ranked)
        fill = fill_of(node.inputs[2])
        if not last or fill not in (0.0, 1.0) or ranked[:-1] != sizes[:-1]:
            return None
        before = self.of(node.inputs[0])
        around = np.array(before)
        inside = around[..., shift : shift + ranked[-1]]
        if inside.shape != ranked or (inside != (TRUE if fill == 0 else FALSE)).any():
            return None
        held = ints(top.inputs[1])
        literals = self._fresh(ranked, held[0] if held else None)
        around[..., shift : shift + ranked[-1]] = literals if fill else negated(literals)
        return around

    def _joined(self, one: Array, other: Array) -> Array:
        """Both; where two choices meet, what is left is a choice of its own."""
        one, other = np.broadcast_arrays(one, other)
        either = np.where(one == TRUE, other, np.where(other == TRUE, one, FALSE))
        either = np.where(one == other, one, either)
        known = (one == other) | np.isin(one, (FALSE, TRUE)) | np.isin(other, (FALSE, TRUE))
        return np.asarray(either) if known.all() else self._fresh(one.shape, None)

    def _fresh(self, sizes: tuple[int, ...], ones: int | None) -> Array:
        count = int(np.prod(sizes))
        literals = np.arange(self._next, self._next + count).reshape(sizes)
        if ones is not None:
            for first in literals[..., 0].reshape(-1):
                self.choices.append(Choice(int(first), sizes[-1], ones))
        self._next += count
        return literals


def _top_of(indices: ir.Value | None) -> tuple[ir.Node | None, int]:
    """The TopK behind the indices, and the number that is added to them."""
    node, shift = indices.producer() if indices is not None else None, 0
    if node is not None and is_op(node, "Add"):
        number = scalar(input_at(node, 1))
        indices = node.inputs[0]
        node, shift = indices.producer() if indices is not None else None, int(number or 0)
        if number is None:
            return None, 0
    if node is None or not is_op(node, "TopK") or indices is not node.outputs[1]:
        return None, 0
    return node, shift
