"""What each data-movement operator does to an array, in NumPy.

Only operators that move elements without computing on them. Used on index tensors, so that the
exact map of any chain of them can be read off instead of being pattern-matched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import Array, Refuse, attribute, const, input_at, ints, shape

Move = Callable[[ir.Node, list[Array], int], list[Array]]


def apply_move(node: ir.Node, arrays: list[Array], batch: int) -> list[Array]:
    """The node's outputs for these data inputs; symbolic batch sizes are `batch`."""
    try:
        return MOVES[node.op_type](node, arrays, batch)
    except (ValueError, IndexError) as error:
        raise Refuse(f"its sizes do not fit: {error}", node) from error


def concrete_shape(value: ir.Value, batch: int) -> tuple[int, ...]:
    """The shape with `batch` for the symbolic size; refuses if there are several."""
    sizes = shape(value)
    if sizes is None:
        raise Refuse(f"the shape of {value.name!r} is unknown", value.producer())
    if sizes.count(None) > 1:
        raise Refuse(f"{value.name!r} has symbolic sizes: {value.shape}", value.producer())
    return tuple(batch if size is None else size for size in sizes)


def _needed(node: ir.Node, index: int) -> list[int]:
    found = ints(input_at(node, index))
    if found is None:
        raise Refuse(f"input {index} is not a constant", node)
    return found


def _optional(node: ir.Node, index: int) -> list[int] | None:
    return None if input_at(node, index) is None else _needed(node, index)


def _identity(node: ir.Node, arrays: list[Array], batch: int) -> list[Array]:
    return [arrays[0]]


def _reshape(node: ir.Node, arrays: list[Array], batch: int) -> list[Array]:
    x, wanted = arrays[0], ints(input_at(node, 1))
    if wanted is None:
        return [x.reshape(concrete_shape(node.outputs[0], batch))]
    if not attribute(node, "allowzero", 0):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return [x.reshape(wanted)]


def _flatten(node: ir.Node, arrays: list[Array], batch: int) -> list[Array]:
    x = arrays[0]
    axis = attribute(node, "axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return [x.reshape(int(np.prod(x.shape[:axis], dtype=int)), -1)]


def _transpose(node: ir.Node, arrays: list[Array], batch: int) -> list[Array]:
    return [arrays[0].transpose(attribute(node, "perm") or None)]


def _squeeze(node: ir.Node, arrays: list[Array], batch: int) -> list[Array]:
    axes = _optional(node, 1) or attribute(node, "axes")
    return [arrays[0].squeeze(tuple(axes) if axes is not None else None)]


def _unsqueeze(node: ir.Node, arrays: list[Array], batch: int) -> list[Array]:
    axes = _optional(node, 1) or attribute(node, "axes")
    return [np.expand_dims(arrays[0], tuple(axes))]


def _slice(node: ir.Node, arrays: list[Array], batch: int) -> list[Array]:
    x = arrays[0]
    starts, ends = _needed(node, 1), _needed(node, 2)
    axes = _optional(node, 3) or list(range(len(starts)))
    steps = _optional(node, 4) or [1] * len(starts)
    cut = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        low = None if step < 0 and end < -(2**31) else end
        cut[axis] = slice(start, low, step)
    return [x[tuple(cut)]]


def split_sizes(node: ir.Node, size: int) -> list[int]:
    """The sizes of a Split's outputs along its axis of length `size` (opsets 2 to 18+)."""
    given = _optional(node, 1) or attribute(node, "split")
    if given is not None:
        return list(given)
    count = len(node.outputs)
    each = -(-size // count)
    return [each] * (count - 1) + [size - each * (count - 1)]


def _split(node: ir.Node, arrays: list[Array], batch: int) -> list[Array]:
    x, axis = arrays[0], attribute(node, "axis", 0)
    sizes = split_sizes(node, x.shape[axis])
    if sum(sizes) != x.shape[axis]:
        raise ValueError(f"parts {sizes} of an axis of {x.shape[axis]}")
    return np.split(x, np.cumsum(sizes)[:-1], axis=axis)


def _gather(node: ir.Node, arrays: list[Array], batch: int) -> list[Array]:
    indices = const(input_at(node, 1))
    if indices is None:
        raise Refuse("its indices are not a constant", node)
    return [np.take(arrays[0], indices.astype(np.int64), axis=attribute(node, "axis", 0))]


def _concat(node: ir.Node, arrays: list[Array], batch: int) -> list[Array]:
    return [np.concatenate(arrays, axis=attribute(node, "axis", 0))]


def _expand(node: ir.Node, arrays: list[Array], batch: int) -> list[Array]:
    wanted = ints(input_at(node, 1))
    if wanted is None:
        return [np.broadcast_to(arrays[0], concrete_shape(node.outputs[0], batch))]
    return [np.broadcast_to(arrays[0], np.broadcast_shapes(arrays[0].shape, tuple(wanted)))]


MOVES: dict[str, Move] = {
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _identity,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


def data_inputs(node: ir.Node) -> Sequence[ir.Value]:
    """The inputs whose elements are moved (not the shapes, indices and axes)."""
    taken = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    return [value for value in taken if value is not None]
