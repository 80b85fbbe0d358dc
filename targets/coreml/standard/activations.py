"""Activation functions and limits, each as one operation where MIL has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.values import kind_of, number, operand, refusal, settle
from attnc.targets.coreml.writer import is_var, sizes

_UNARY = {"Sigmoid": "sigmoid", "Softplus": "softplus", "Softsign": "softsign"}
_LARGEST = float(np.finfo(np.float32).max)


def _unary(node: ir.Node, to: Forms) -> None:
    settle(node, to, to.emit(_UNARY[node.op_type], x=operand(node, to, 0)))


def _relu(node: ir.Node, to: Forms) -> None:
    x = operand(node, to, 0)
    whole = kind_of(x) == "int"
    settle(node, to, to.emit("maximum", x=x, y=np.int32(0)) if whole else to.emit("relu", x=x))


def _leaky_relu(node: ir.Node, to: Forms) -> None:
    alpha = float(attribute(node, "alpha", 0.01))
    settle(node, to, to.emit("leaky_relu", x=operand(node, to, 0), alpha=alpha))


def _prelu(node: ir.Node, to: Forms) -> None:
    x, slope = operand(node, to, 0), operand(node, to, 1)
    alpha = None if is_var(slope) or kind_of(x) != "float" else slope
    if alpha is not None and alpha.size == 1 and alpha.ndim <= len(sizes(x)):
        settle(node, to, to.emit("leaky_relu", x=x, alpha=float(alpha.reshape(()))))
        return
    if alpha is not None and len(sizes(x)) == 4 and _is_per_channel(alpha):
        settle(node, to, to.emit("prelu", x=x, alpha=alpha.reshape(-1)))
        return
    steep = to.emit("mul", x=x, y=slope)
    settle(node, to, to.emit("select", cond=to.emit("less", x=x, y=number(x, 0)), a=steep, b=x))


def _is_per_channel(slope: Any) -> bool:
    """Whether it broadcasts to [B,C,H,W] as one number per channel."""
    return slope.ndim in (3, 4) and slope.size == slope.shape[-3]


def _elu(node: ir.Node, to: Forms) -> None:
    alpha = float(attribute(node, "alpha", 1.0))
    settle(node, to, to.emit("elu", x=operand(node, to, 0), alpha=alpha))


def _selu(node: ir.Node, to: Forms) -> None:
    alpha = float(attribute(node, "alpha", 1.6732632423543772))
    gamma = float(attribute(node, "gamma", 1.0507009873554805))
    made = to.emit("elu", x=operand(node, to, 0), alpha=alpha)
    settle(node, to, to.emit("mul", x=made, y=gamma))


def _celu(node: ir.Node, to: Forms) -> None:
    x, alpha = operand(node, to, 0), float(attribute(node, "alpha", 1.0))
    if alpha <= 0:
        raise refusal(node, f"its alpha {alpha} is not positive", "use a positive alpha")
    if alpha != 1:
        x = to.emit("mul", x=x, y=1 / alpha)
    made = to.emit("elu", x=x, alpha=1.0)
    settle(node, to, made if alpha == 1 else to.emit("mul", x=made, y=alpha))


def _hard_sigmoid(node: ir.Node, to: Forms) -> None:
    alpha, beta = float(attribute(node, "alpha", 0.2)), float(attribute(node, "beta", 0.5))
    settle(node, to, to.emit("sigmoid_hard", x=operand(node, to, 0), alpha=alpha, beta=beta))


def _hard_swish(node: ir.Node, to: Forms) -> None:
    x = operand(node, to, 0)
    gate = to.emit("sigmoid_hard", x=x, alpha=1 / 6, beta=0.5)
    settle(node, to, to.emit("mul", x=x, y=gate))


def _mish(node: ir.Node, to: Forms) -> None:
    x = operand(node, to, 0)
    gate = to.emit("tanh", x=to.emit("softplus", x=x))
    settle(node, to, to.emit("mul", x=x, y=gate))


def _swish(node: ir.Node, to: Forms) -> None:
    x, alpha = operand(node, to, 0), float(attribute(node, "alpha", 1.0))
    if alpha == 1:
        settle(node, to, to.emit("silu", x=x))
        return
    gate = to.emit("sigmoid", x=to.emit("mul", x=x, y=alpha))
    settle(node, to, to.emit("mul", x=x, y=gate))


def _thresholded_relu(node: ir.Node, to: Forms) -> None:
    """MIL's own keeps what equals the threshold, ONNX's does not."""
    x, alpha = operand(node, to, 0), float(attribute(node, "alpha", 1.0))
    kept = to.emit("greater", x=x, y=alpha)
    settle(node, to, to.emit("select", cond=kept, a=x, b=0.0))


def _gelu(node: ir.Node, to: Forms) -> None:
    mode = "TANH_APPROXIMATION" if attribute(node, "approximate", "none") == "tanh" else "EXACT"
    settle(node, to, to.emit("gelu", x=operand(node, to, 0), mode=mode))


def _clip(node: ir.Node, to: Forms) -> None:
    x = operand(node, to, 0)
    low, high = _limit(node, to, 1, "min"), _limit(node, to, 2, "max")
    if kind_of(x) == "float" and _is_number(low) and _is_number(high):
        settle(node, to, _clip_between(to, x, float(low), float(high)))
        return
    if _is_number(low) and kind_of(x) == "float" and float(low) == 0:
        x, low = to.emit("relu", x=x), None
    x = x if low is None else to.emit("maximum", x=x, y=low)
    settle(node, to, x if high is None else to.emit("minimum", x=x, y=high))


def _clip_between(to: Forms, x: Any, low: float, high: float) -> Any:
    if (low, high) == (0, 6):
        return to.emit("relu6", x=x)
    if low < high:
        return to.emit("clip", x=x, alpha=low, beta=high)
    return to.emit("minimum", x=to.emit("maximum", x=x, y=low), y=high)


def _is_number(limit: Any) -> bool:
    return limit is not None and not is_var(limit)


def _limit(node: ir.Node, to: Forms, index: int, name: str) -> Any:
    """A limit; None where it is absent or lets every finite number pass."""
    limit = operand(node, to, index)
    if limit is None and attribute(node, name) is not None:
        limit = np.float32(attribute(node, name))
    if is_var(limit) or limit is None or limit.dtype.kind != "f":
        return limit if limit is None or is_var(limit) else limit.reshape(())
    open_side = float(limit) <= -_LARGEST if name == "min" else float(limit) >= _LARGEST
    return None if open_side else limit.reshape(())


OPERATORS: dict[str, Callable[[ir.Node, Forms], None]] = {
    **dict.fromkeys(_UNARY, _unary),
    "Celu": _celu,
    "Clip": _clip,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "Mish": _mish,
    "PRelu": _prelu,
    "Relu": _relu,
    "Selu": _selu,
    "Swish": _swish,
    "ThresholdedRelu": _thresholded_relu,
}
