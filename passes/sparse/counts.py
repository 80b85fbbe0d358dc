"""Numbers that a graph computes from masks, and that are the same for every picture.

Where the tokens that stay are counted (to keep no more keys than there are tokens), the sum of a
mask is known: it is a choice of a fixed number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.passes.graph import Refuse, attribute, const, input_at, ints, is_op
from attnc.passes.movement import MOVES, apply_move, data_inputs
from attnc.passes.sparse.literals import Literals
from attnc.passes.views import PROBES

Numbers = NDArray[np.float64]
_JOIN: dict[str, Callable[[Numbers, Numbers], Numbers]] = {"Min": np.minimum, "Max": np.maximum}
_ROUND: dict[str, Callable[[Numbers], Numbers]] = {"Ceil": np.ceil, "Floor": np.floor}


def number_of(value: ir.Value | None) -> int | None:
    """The whole number that a value holds for every picture; None where it is not known."""
    if value is None:
        return None
    try:
        found = {float(n) for batch in PROBES for n in _numbers(value, Literals(batch)).reshape(-1)}
    except Refuse:
        return None
    return int(found.pop()) if len(found) == 1 else None


def _numbers(value: ir.Value | None, literals: Literals) -> Numbers:
    if value is None:
        raise Refuse("an input of a number is left out")
    array, node = const(value), value.producer()
    if array is not None:
        return np.asarray(array, np.float64)
    if node is None:
        raise Refuse(f"{value.name!r} is an input of the graph")
    if is_op(node, *MOVES):
        taken = [_numbers(part, literals) for part in data_inputs(node)]
        return apply_move(node, taken, literals.batch)[list(node.outputs).index(value)]
    if is_op(node, "Cast"):
        return _numbers(node.inputs[0], literals)
    if is_op(node, *_ROUND):
        return _ROUND[node.op_type](_numbers(node.inputs[0], literals))
    if is_op(node, *_JOIN):
        first, *others = (_numbers(part, literals) for part in node.inputs)
        for other in others:
            first = _JOIN[node.op_type](first, other)
        return first
    if is_op(node, "ReduceSum"):
        return _sums(node, literals)
    raise Refuse(f"{value.name!r} is computed from more than a choice", node)


def _sums(node: ir.Node, literals: Literals) -> Numbers:
    """How many are true, along the axes of the sum."""
    mask = literals.of(node.inputs[0])
    axes = ints(input_at(node, 1)) or attribute(node, "axes") or list(range(mask.ndim))
    axes = [axis % mask.ndim for axis in axes]
    kept = [axis for axis in range(mask.ndim) if axis not in axes]
    sizes = [mask.shape[axis] for axis in kept]
    counts = [
        literals.count(row)
        for row in mask.transpose(*kept, *axes).reshape(int(np.prod(sizes, dtype=int)), -1)
    ]
    if any(count is None for count in counts):
        raise Refuse("how many tokens stay depends on the picture", node)
    numbers = np.array(counts, np.float64).reshape(sizes)
    if attribute(node, "keepdims", 1):
        numbers = np.expand_dims(numbers, tuple(sorted(axes)))
    return numbers
