"""Elements taken and put by index; what is known beforehand is sliced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import attribute, is_op
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.cuts import cut, gather, pick
from attnc.targets.coreml.standard.values import (
    as_kind,
    check_shape,
    kind_of,
    not_free,
    operand,
    refusal,
    settle,
)
from attnc.targets.coreml.writer import is_var, sizes

_MODES = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}
#: Operators that hand indices on.
_PASSING = ("Cast", "Expand", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")


def _gather(node: ir.Node, to: Forms) -> None:
    x, indices = operand(node, to, 0), operand(node, to, 1)
    wanted = to.sizes(node.outputs[0])
    check_shape(node, wanted)
    axis = attribute(node, "axis", 0) % len(sizes(x))
    places = _counted(node, to, indices, sizes(x)[axis])
    if is_var(places):
        settle(node, to, gather(to, x, places, axis))
    elif places.ndim == 0:
        bounds = [(0, size, 1) for size in sizes(x)]
        bounds[axis] = (int(places), int(places) + 1, 1)
        settle(node, to, cut(to, x, bounds, dropped=axis))
    else:
        settle(node, to, to.reshape(pick(to, x, axis, places.reshape(-1).tolist()), wanted))


def _counted(node: ir.Node, to: Forms, indices: Any, limit: Any) -> Any:
    """Indices that count from the start only; `limit` is the size, or one per last entry."""
    if is_var(indices) and _never_negative(node.inputs[1]):
        return indices
    not_free(node, *np.ravel(limit))
    if not is_var(indices):
        return (indices % np.asarray(limit)).astype(np.int32)
    return to.emit("mod", x=indices, y=np.asarray(limit, np.int32))


def _never_negative(value: ir.Value | None) -> bool:
    """Whether these are places that another operator has found."""
    maker = value.producer() if value is not None else None
    while maker is not None and is_op(maker, *_PASSING):
        value = maker.inputs[0]
        maker = value.producer() if value is not None else None
    return is_op(maker, "ArgMax", "ArgMin", "TopK")


def _gather_elements(node: ir.Node, to: Forms) -> None:
    """MIL wants all other axes of the same size; ONNX reads the first places of longer ones."""
    x, indices = operand(node, to, 0), operand(node, to, 1)
    axis = attribute(node, "axis", 0) % len(sizes(x))
    places = _counted(node, to, indices, sizes(x)[axis])
    pairs = enumerate(zip(sizes(x), sizes(indices), strict=True))
    x = cut(to, x, [(0, have if at == axis else want, 1) for at, (have, want) in pairs])
    made = to.emit("gather_along_axis", x=_numbers(to, x), indices=places, axis=axis)
    settle(node, to, as_kind(to, made, kind_of(x)))


def _gather_nd(node: ir.Node, to: Forms) -> None:
    x, indices = operand(node, to, 0), operand(node, to, 1)
    skipped = attribute(node, "batch_dims", 0)
    if skipped and to.emit.opset < 16:
        raise refusal(node, "iOS 15 gathers without batch axes", "take iOS 16 or newer")
    depth = sizes(indices)[-1]
    places = _counted(node, to, indices, sizes(x)[skipped : skipped + depth])
    made = to.emit("gather_nd", x=_numbers(to, x), indices=places, batch_dims=skipped or None)
    settle(node, to, as_kind(to, made, kind_of(x)))


def _scatter_elements(node: ir.Node, to: Forms) -> None:
    x, indices, updates = (operand(node, to, index) for index in range(3))
    axis = attribute(node, "axis", 0) % len(sizes(x))
    not_free(node, sizes(x)[axis])
    for at, (have, given) in enumerate(zip(sizes(x), sizes(indices), strict=True)):
        if at != axis and have != given:
            raise refusal(
                node,
                f"it writes {given} of {have} places along axis {at}; Core ML writes all",
                "slice the value first, and concatenate the rest",
            )
    made = to.emit(
        "scatter_along_axis",
        data=_numbers(to, x),
        indices=_counted(node, to, indices, sizes(x)[axis]),
        updates=_numbers(to, updates),
        axis=axis,
        mode=_mode(node),
    )
    settle(node, to, as_kind(to, made, kind_of(x)))


def _scatter_nd(node: ir.Node, to: Forms) -> None:
    x, indices, updates = (operand(node, to, index) for index in range(3))
    made = to.emit(
        "scatter_nd",
        data=_numbers(to, x),
        indices=_counted(node, to, indices, sizes(x)[: sizes(indices)[-1]]),
        updates=_numbers(to, updates),
        mode=_mode(node),
    )
    settle(node, to, as_kind(to, made, kind_of(x)))


def _mode(node: ir.Node) -> str:
    return _MODES[attribute(node, "reduction", "none")]


def _numbers(to: Forms, x: Any) -> Any:
    """Truths as integers, since MIL moves no truths by index."""
    return as_kind(to, x, "int") if kind_of(x) == "bool" else x


def _dynamic(node: ir.Node, to: Forms) -> None:
    raise refusal(
        node,
        "the size of its result depends on the numbers in its input; Core ML needs fixed sizes",
        "keep a fixed number of elements, as TopK does",
    )


OPERATORS: dict[str, Callable[[ir.Node, Forms], None]] = {
    "Compress": _dynamic,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonMaxSuppression": _dynamic,
    "NonZero": _dynamic,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Unique": _dynamic,
}
