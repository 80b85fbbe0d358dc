"""Values made from sizes and numbers alone, and masks that are laid over others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.spreading import spread
from attnc.targets.coreml.standard.values import (
    as_kind,
    fixed_array,
    fixed_ints,
    held,
    kind_of,
    not_free,
    number,
    operand,
    settle,
)
from attnc.targets.coreml.writer import sizes


def _shape(node: ir.Node, to: Forms) -> None:
    found = np.array(to.sizes(node.inputs[0]), np.int32)
    begin, end = attribute(node, "start", 0), attribute(node, "end")
    not_free(node, *found[begin:end])
    settle(node, to, found[begin:end])


def _size(node: ir.Node, to: Forms) -> None:
    given = to.sizes(node.inputs[0])
    not_free(node, *given)
    settle(node, to, np.array(np.prod(given), np.int32))


def _constant_of_shape(node: ir.Node, to: Forms) -> None:
    given = attribute(node, "value")
    value = np.zeros(1, np.float32) if given is None else held(given.numpy())
    settle(node, to, spread(to, value[0], to.sizes(node.outputs[0])))


def _range(node: ir.Node, to: Forms) -> None:
    names = ("start", "limit", "delta")
    begin, end, step = (fixed_array(node, to, i, name) for i, name in enumerate(names))
    settle(node, to, np.arange(begin, end, step, dtype=begin.dtype))


def _eye_like(node: ir.Node, to: Forms) -> None:
    dtype = ir.DataType(attribute(node, "dtype", _type_of(node)))
    rows, columns = to.sizes(node.outputs[0])
    not_free(node, rows, columns)
    settle(node, to, held(np.eye(rows, columns, attribute(node, "k", 0), dtype=dtype.numpy())))


def _type_of(node: ir.Node) -> int:
    value = node.inputs[0]
    return int(value.dtype) if value is not None and value.dtype is not None else 1


def _trilu(node: ir.Node, to: Forms) -> None:
    """A band of MIL holds the diagonal; a mask does what does not."""
    x, (offset,) = operand(node, to, 0), fixed_ints(node, 1, "k") or [0]
    upper = bool(attribute(node, "upper", 1))
    if (upper and offset <= 0) or (not upper and offset >= 0):
        lower, above = (-offset, -1) if upper else (-1, offset)
        settle(node, to, to.emit("band_part", x=x, lower=lower, upper=above))
        return
    not_free(node, *sizes(x)[-2:])
    square = np.ones(sizes(x)[-2:], bool)
    mask = np.triu(square, offset) if upper else np.tril(square, offset)
    mask = mask.reshape((1,) * (len(sizes(x)) - 2) + mask.shape)
    nothing = np.bool_(False) if kind_of(x) == "bool" else number(x, 0)
    settle(node, to, to.emit("select", cond=spread(to, mask, sizes(x)), a=x, b=nothing))


def _one_hot(node: ir.Node, to: Forms) -> None:
    """Negative indices count from the end."""
    values = fixed_array(node, to, 2, "values")
    depth = int(np.asarray(fixed_array(node, to, 1, "depth")).reshape(()))
    indices = as_kind(to, operand(node, to, 0), "int")
    off, on = (value.item() for value in values)
    made = to.emit(
        "one_hot",
        indices=_wrapped(to, indices, depth),
        one_hot_vector_size=depth,
        axis=attribute(node, "axis", -1),
        on_value=on,
        off_value=off,
    )
    settle(node, to, made)


def _wrapped(to: Forms, indices: Any, depth: int) -> Any:
    below = to.emit("less", x=indices, y=np.int32(0))
    return to.emit("select", cond=below, a=to.emit("add", x=indices, y=np.int32(depth)), b=indices)


OPERATORS: dict[str, Callable[[ir.Node, Forms], None]] = {
    "ConstantOfShape": _constant_of_shape,
    "EyeLike": _eye_like,
    "OneHot": _one_hot,
    "Range": _range,
    "Shape": _shape,
    "Size": _size,
    "Trilu": _trilu,
}
