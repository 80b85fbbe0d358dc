"""Reads vectors divided by their length off a graph, in the ways in which people write it.

v / max(|v|, e)  with |v| as ReduceL2(v) or Sqrt(ReduceSum(v v)), the floor as Clip or Max, by Div,
or by Mul with a Reciprocal; Expand between them does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import Array, Refuse, attribute, input_at, ints, is_op, scalar, shape

#: Lengths below this are taken for this by the fused operators.
LEAST_LENGTH = 1e-12
#: A larger floor would change more than vectors of zeros.
MOST_FLOOR = 1e-10


def direction_of(value: ir.Value) -> ir.Value | None:
    """The v that `value` is the direction of, along its last axis; None for anything else.

    Refuses where the length has a floor that is too large to be ignored.
    """
    node = value.producer()
    if node is None or not is_op(node, "Div", "Mul"):
        return None
    for vector, other in _operands(node):
        length = other if is_op(node, "Div") else _inverted(other)
        if vector is not None and length is not None and _is_length(length, vector):
            return vector
    return None


def _operands(node: ir.Node) -> Iterator[tuple[ir.Value | None, ir.Value | None]]:
    one, other = node.inputs[0], node.inputs[1]
    yield one, other
    if is_op(node, "Mul"):
        yield other, one


def _inverted(value: ir.Value | None) -> ir.Value | None:
    """d where `value` is 1 / d."""
    value = _before_expand(value)
    node = value.producer() if value is not None else None
    if node is None:
        return None
    if is_op(node, "Reciprocal"):
        return node.inputs[0]
    return node.inputs[1] if is_op(node, "Div") and scalar(node.inputs[0]) == 1.0 else None


def _before_expand(value: ir.Value | None) -> ir.Value | None:
    node = value.producer() if value is not None else None
    return node.inputs[0] if node is not None and is_op(node, "Expand") else value


def _is_length(value: ir.Value, vector: ir.Value) -> bool:
    value, floor = _through_floor(_before_expand(value) or value)
    if not _is_norm(value, vector):
        return False
    if floor > MOST_FLOOR:
        raise Refuse(f"lengths below {floor:g} are taken for that", value.producer())
    return True


def _through_floor(value: ir.Value) -> tuple[ir.Value, float]:
    """The value in front of a Clip or Max with a constant lower bound, and the bound."""
    node = value.producer()
    if node is None:
        return value, 0.0
    if is_op(node, "Clip") and input_at(node, 2) is None:
        bound, data = scalar(input_at(node, 1)), node.inputs[0]
        return (data, bound) if data is not None and bound is not None else (value, 0.0)
    if is_op(node, "Max") and len(node.inputs) == 2:
        for data, other in (node.inputs, reversed(node.inputs)):
            bound = scalar(other)
            if data is not None and bound is not None:
                return data, bound
    return value, 0.0


def _is_norm(value: ir.Value, vector: ir.Value) -> bool:
    """Whether `value` [.., 1] is the length of `vector` along the last axis."""
    node = value.producer()
    if node is None:
        return False
    if is_op(node, "ReduceL2"):
        return node.inputs[0] is vector and _over_last(node)
    if not is_op(node, "Sqrt") and not (is_op(node, "Pow") and scalar(node.inputs[1]) == 0.5):
        return False
    data = node.inputs[0]
    total = data.producer() if data is not None else None
    if total is None or not is_op(total, "ReduceSum", "ReduceSumSquare") or not _over_last(total):
        return False
    if is_op(total, "ReduceSumSquare"):
        return total.inputs[0] is vector
    return _is_square(total.inputs[0], vector)


def _is_square(value: ir.Value | None, vector: ir.Value) -> bool:
    node = value.producer() if value is not None else None
    if node is None or node.inputs[0] is not vector:
        return False
    if is_op(node, "Mul"):
        return node.inputs[1] is vector
    return is_op(node, "Pow") and scalar(node.inputs[1]) == 2.0


def _over_last(node: ir.Node) -> bool:
    sizes, given = shape(node.inputs[0]), input_at(node, 1)
    axes = attribute(node, "axes") if given is None else ints(given)
    if sizes is None or axes is None or len(axes) != 1 or not attribute(node, "keepdims", 1):
        return False
    return bool(axes[0] % len(sizes) == len(sizes) - 1)


def constant_directions(array: Array) -> tuple[Array, float] | None:
    """A constant of vectors of one length, as [1, N, C] and that length; None for anything else.

    What a normalisation of constants is folded to. Copies for each image are made one again.
    """
    if array.ndim == 3 and (array == array[:1]).all():
        array = array[:1]
    array = array[None] if array.ndim == 2 else array
    lengths = np.sqrt((array.astype(np.float64) ** 2).sum(axis=-1))
    if array.ndim != 3 or array.shape[0] != 1 or not np.allclose(lengths, lengths.flat[0], 1e-5):
        return None
    return array, float(lengths.flat[0])
