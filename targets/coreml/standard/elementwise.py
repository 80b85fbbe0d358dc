"""Arithmetic, comparisons and casts, element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.spreading import joint, spread
from attnc.targets.coreml.standard.values import (
    as_kind,
    kind_of,
    number,
    only_outputs,
    operand,
    refusal,
    settle,
)
from attnc.targets.coreml.writer import is_var, sizes

_BINARY = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "And": "logical_and",
    "Or": "logical_or",
    "Xor": "logical_xor",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
}
_UNARY = {
    "Abs": "abs",
    "Acos": "acos",
    "Asin": "asin",
    "Atan": "atan",
    "Atanh": "atanh",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "Not": "logical_not",
    "Round": "round",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Tan": "tan",
    "Tanh": "tanh",
}
_VARIADIC = {"Min": "minimum", "Max": "maximum", "Sum": "add", "Mean": "add"}
_POWERS = {1.0: None, 2.0: "square", 0.5: "sqrt"}
_LARGEST = float(np.finfo(np.float32).max)


def _binary(node: ir.Node, to: Forms) -> None:
    x, y = operand(node, to, 0), operand(node, to, 1)
    settle(node, to, to.emit(_BINARY[node.op_type], x=x, y=y))


def _unary(node: ir.Node, to: Forms) -> None:
    settle(node, to, to.emit(_UNARY[node.op_type], x=operand(node, to, 0)))


def _variadic(node: ir.Node, to: Forms) -> None:
    values = [operand(node, to, index) for index in range(len(node.inputs))]
    kind = _VARIADIC[node.op_type]
    made = reduce(lambda x, y: to.emit(kind, x=x, y=y), values)
    if node.op_type == "Mean" and len(values) > 1:
        made = to.emit("mul", x=made, y=1.0 / len(values))
    settle(node, to, made)


def _forward(node: ir.Node, to: Forms) -> None:
    settle(node, to, operand(node, to, 0))


def _dropout(node: ir.Node, to: Forms) -> None:
    only_outputs(node, 1)
    training = operand(node, to, 2)
    if training is not None and (is_var(training) or bool(training)):
        raise refusal(node, "it drops values as in training", "export the model in eval mode")
    _forward(node, to)


def _div(node: ir.Node, to: Forms) -> None:
    x, y = operand(node, to, 0), operand(node, to, 1)
    made = to.emit("real_div", x=x, y=y) if kind_of(x) == "float" else _truncated(to, x, y)
    settle(node, to, made)


def _truncated(to: Forms, x: Any, y: Any) -> Any:
    """Integers divided and rounded toward zero, where MIL rounds down."""
    if not is_var(y):
        sign = (
            to.emit("sign", x=x) if np.all(y > 0) else to.emit("mul", x=_sign(to, x), y=np.sign(y))
        )
        return to.emit("mul", x=to.emit("floor_div", x=_size(to, x), y=np.abs(y)), y=sign)
    sign = to.emit("mul", x=_sign(to, x), y=_sign(to, y))
    return to.emit("mul", x=to.emit("floor_div", x=_size(to, x), y=_size(to, y)), y=sign)


def _sign(to: Forms, x: Any) -> Any:
    return to.emit("sign", x=x) if is_var(x) else np.sign(x)


def _size(to: Forms, x: Any) -> Any:
    return to.emit("abs", x=x) if is_var(x) else np.abs(x)


def _mod(node: ir.Node, to: Forms) -> None:
    x, y = operand(node, to, 0), operand(node, to, 1)
    if not attribute(node, "fmod", 0):
        settle(node, to, to.emit("mod", x=x, y=y))
        return
    rest = to.emit("mod", x=_size(to, x), y=_size(to, y))
    settle(node, to, to.emit("mul", x=rest, y=_sign(to, x)))


def _pow(node: ir.Node, to: Forms) -> None:
    x, y = operand(node, to, 0), operand(node, to, 1)
    if kind_of(x) == "int" and kind_of(y) == "float":
        made = to.emit("pow", x=as_kind(to, x, "float"), y=y)
        settle(node, to, as_kind(to, made, "int"))
        return
    power = float(y.reshape(())) if not is_var(y) and y.size == 1 else None
    if power in _POWERS and y.ndim <= len(sizes(x)):
        kind = _POWERS[power]
        settle(node, to, to.emit(kind, x=x) if kind else x)
        return
    settle(
        node, to, to.emit("pow", x=x, y=as_kind(to, y, "float" if kind_of(x) == "float" else "int"))
    )


def _neg(node: ir.Node, to: Forms) -> None:
    x = operand(node, to, 0)
    settle(node, to, to.emit("mul", x=x, y=number(x, -1)))


def _reciprocal(node: ir.Node, to: Forms) -> None:
    settle(node, to, to.emit("inverse", x=operand(node, to, 0), epsilon=0.0))


def _log(node: ir.Node, to: Forms) -> None:
    settle(node, to, to.emit("log", x=operand(node, to, 0), epsilon=0.0))


def _equal(node: ir.Node, to: Forms) -> None:
    x, y = operand(node, to, 0), operand(node, to, 1)
    if kind_of(x) == "bool":
        made = to.emit("logical_not", x=to.emit("logical_xor", x=x, y=y))
    else:
        made = to.emit("equal", x=x, y=y)
    settle(node, to, made)


def _is_nan(node: ir.Node, to: Forms) -> None:
    x = operand(node, to, 0)
    settle(node, to, to.emit("not_equal", x=x, y=x))


def _is_inf(node: ir.Node, to: Forms) -> None:
    """Beyond the largest number, which the writer cuts to that of float16 in half precision."""
    x = operand(node, to, 0)
    above, below = attribute(node, "detect_positive", 1), attribute(node, "detect_negative", 1)
    if above and below:
        x = to.emit("abs", x=x)
    kind, limit = ("greater", _LARGEST) if above else ("less", -_LARGEST)
    if not above and not below:
        limit = -np.inf  # nothing is less
    settle(node, to, to.emit(kind, x=x, y=limit))


def _where(node: ir.Node, to: Forms) -> None:
    """MIL takes the shape of the two choices, so one of them must have the result's."""
    cond, a, b = (operand(node, to, index) for index in range(3))
    wanted = to.sizes(node.outputs[0])
    if joint(sizes(a), sizes(b)) != wanted:
        if is_var(b):
            a = spread(to, a, wanted)
        else:
            b = spread(to, b, wanted)
    settle(node, to, to.emit("select", cond=cond, a=a, b=b))


def _cast(node: ir.Node, to: Forms) -> None:
    _cast_to(node, to, ir.DataType(attribute(node, "to")))


def _cast_like(node: ir.Node, to: Forms) -> None:
    like = node.inputs[1]
    if like is None or like.dtype is None:
        raise refusal(node, "the type to cast to is not known", "infer the model's types")
    _cast_to(node, to, like.dtype)


def _cast_to(node: ir.Node, to: Forms, dtype: ir.DataType) -> None:
    x = operand(node, to, 0)
    if dtype.is_floating_point():
        made = as_kind(to, x, "float")
    elif dtype == ir.DataType.BOOL:
        made = as_kind(to, x, "bool")
    elif dtype in (ir.DataType.INT32, ir.DataType.INT64) or kind_of(x) == "bool":
        made = as_kind(to, x, "int")
    else:
        raise refusal(node, f"Core ML has no values of type {dtype}", "use int32 or float32 there")
    settle(node, to, made)


OPERATORS: dict[str, Callable[[ir.Node, Forms], None]] = {
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_VARIADIC, _variadic),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Div": _div,
    "Dropout": _dropout,
    "Equal": _equal,
    "Identity": _forward,
    "IsInf": _is_inf,
    "IsNaN": _is_nan,
    "Log": _log,
    "Mod": _mod,
    "Neg": _neg,
    "Pow": _pow,
    "Reciprocal": _reciprocal,
    "Where": _where,
}
