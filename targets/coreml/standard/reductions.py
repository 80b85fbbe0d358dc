"""Sums, extremes and their places along axes."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.values import (
    as_kind,
    axes_of,
    fixed_ints,
    kind_of,
    operand,
    refusal,
    settle,
)
from attnc.targets.coreml.writer import sizes

_REDUCTIONS = {
    "ReduceL1": "reduce_l1_norm",
    "ReduceL2": "reduce_l2_norm",
    "ReduceLogSum": "reduce_log_sum",
    "ReduceLogSumExp": "reduce_log_sum_exp",
    "ReduceMax": "reduce_max",
    "ReduceMean": "reduce_mean",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
    "ReduceSum": "reduce_sum",
    "ReduceSumSquare": "reduce_sum_square",
}
#: Those that leave a single element as it is.
_SELECTING = {"ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"}
_PLACES = {"ArgMax": "reduce_argmax", "ArgMin": "reduce_argmin"}


def _reduce(node: ir.Node, to: Forms) -> None:
    x = operand(node, to, 0)
    kind, rank = kind_of(x), len(sizes(x))
    axes = axes_of(node, rank)
    if not axes and attribute(node, "noop_with_empty_axes", 0):
        axes = []
    elif not axes:
        axes = list(range(rank))
    if kind == "int" and node.op_type not in (*_SELECTING - {"ReduceMean"}, "ReduceSumSquare"):
        raise refusal(node, "Core ML does not say how it rounds integers there", "cast to float")
    keep = bool(attribute(node, "keepdims", 1))
    if node.op_type in _SELECTING and all(sizes(x)[axis] == 1 for axis in axes):
        left = [1 if axis in axes else size for axis, size in enumerate(sizes(x))]
        left = left if keep else [size for axis, size in enumerate(left) if axis not in axes]
        settle(node, to, to.reshape(x, left) if left else to.emit("squeeze", x=x))
        return
    if not axes:
        raise refusal(node, "it reduces no axis", "write it as an element by element operator")
    whole = as_kind(to, x, "int") if kind == "bool" else x
    made = to.emit(_REDUCTIONS[node.op_type], x=whole, axes=axes, keep_dims=keep)
    settle(node, to, as_kind(to, made, kind))


def _place(node: ir.Node, to: Forms) -> None:
    if attribute(node, "select_last_index", 0):
        raise refusal(node, "it asks for the last of equal elements", "take the first one")
    made = to.emit(
        _PLACES[node.op_type],
        x=operand(node, to, 0),
        axis=attribute(node, "axis", 0),
        keep_dims=bool(attribute(node, "keepdims", 1)),
    )
    settle(node, to, made)


def _cumsum(node: ir.Node, to: Forms) -> None:
    x, axis = operand(node, to, 0), fixed_ints(node, 1, "axis") or [0]
    made = to.emit(
        "cumsum",
        x=x,
        axis=axis[0] % len(sizes(x)),
        exclusive=bool(attribute(node, "exclusive", 0)),
        reverse=bool(attribute(node, "reverse", 0)),
    )
    settle(node, to, made)


def _top_k(node: ir.Node, to: Forms) -> None:
    x, count = operand(node, to, 0), fixed_ints(node, 1, "k") or [1]
    made = to.emit(
        "topk",
        x=x,
        k=count[0],
        axis=attribute(node, "axis", -1) % len(sizes(x)),
        ascending=not attribute(node, "largest", 1),
    )
    for index, value in enumerate(made):
        settle(node, to, value, index)


OPERATORS: dict[str, Callable[[ir.Node, Forms], None]] = {
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(_PLACES, _place),
    "CumSum": _cumsum,
    "TopK": _top_k,
}
