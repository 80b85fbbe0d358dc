"""Matrix products, normalisations and softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.values import (
    fixed_array,
    not_free,
    only_outputs,
    operand,
    refusal,
    settle,
)
from attnc.targets.coreml.writer import is_var, sizes


def _matmul(node: ir.Node, to: Forms) -> None:
    x, y = operand(node, to, 0), operand(node, to, 1)
    wanted = to.sizes(node.outputs[0])
    if is_var(x) and not is_var(y) and y.ndim == 2 and len(sizes(x)) <= 3:
        settle(node, to, to.emit("linear", x=x, weight=y.T))
        return
    x = to.reshape(x, [1, *sizes(x)]) if len(sizes(x)) == 1 else x
    y = to.reshape(y, [*sizes(y), 1]) if len(sizes(y)) == 1 else y
    settle(node, to, _in_shape(to, to.emit("matmul", x=x, y=y), wanted))


def _in_shape(to: Forms, x: Any, wanted: list[int]) -> Any:
    if wanted or not sizes(x):
        return to.reshape(x, wanted)
    return to.emit("squeeze", x=x)


def _gemm(node: ir.Node, to: Forms) -> None:
    x, y, bias = (operand(node, to, index) for index in range(3))
    alpha, beta = float(attribute(node, "alpha", 1.0)), float(attribute(node, "beta", 1.0))
    turned_x, turned_y = bool(attribute(node, "transA", 0)), bool(attribute(node, "transB", 0))
    if bias is not None and beta != 1:
        bias = to.emit("mul", x=bias, y=beta) if is_var(bias) else bias * np.float32(beta)
    if not is_var(y) and is_var(x):
        x = to.emit("transpose", x=x, perm=[1, 0]) if turned_x else x
        weight = (y if turned_y else y.T) * np.float32(alpha)
        row = _bias_row(bias, weight.shape[0])
        made = to.emit("linear", x=x, weight=weight, bias=row)
        bias = bias if row is None else None
    else:
        made = to.emit("matmul", x=x, y=y, transpose_x=turned_x, transpose_y=turned_y)
        made = made if alpha == 1 else to.emit("mul", x=made, y=alpha)
    settle(node, to, made if bias is None else to.emit("add", x=made, y=bias))


def _bias_row(bias: Any, width: int) -> Any:
    """A constant that is the same for every row, as [width]; None for any other."""
    if bias is None or is_var(bias) or (bias.ndim == 2 and bias.shape[0] != 1):
        return None
    return np.broadcast_to(bias.reshape(-1), (width,))


def _softmax(node: ir.Node, to: Forms) -> None:
    axis = attribute(node, "axis", -1)
    settle(node, to, to.emit("softmax", x=operand(node, to, 0), axis=axis))


def _log_softmax(node: ir.Node, to: Forms) -> None:
    x, axis = operand(node, to, 0), attribute(node, "axis", -1)
    total = to.emit("reduce_log_sum_exp", x=x, axes=[axis], keep_dims=True)
    settle(node, to, to.emit("sub", x=x, y=total))


def _hardmax(node: ir.Node, to: Forms) -> None:
    x = operand(node, to, 0)
    axis = attribute(node, "axis", -1) % len(sizes(x))
    not_free(node, sizes(x)[axis])
    best = to.emit("reduce_argmax", x=x, axis=axis, keep_dims=False)
    made = to.emit(
        "one_hot",
        indices=best,
        one_hot_vector_size=sizes(x)[axis],
        axis=axis,
        on_value=1.0,
        off_value=0.0,
    )
    settle(node, to, made)


def _batch_norm(node: ir.Node, to: Forms) -> None:
    if attribute(node, "training_mode", 0):
        raise refusal(node, "it computes statistics as in training", "export in eval mode")
    only_outputs(node, 1)
    x = operand(node, to, 0)
    names = ("scale", "bias", "mean", "variance")
    scale, bias, mean, variance = (
        fixed_array(node, to, index, name) for index, name in enumerate(names, start=1)
    )
    epsilon = float(attribute(node, "epsilon", 1e-5))
    if len(sizes(x)) >= 3:
        made = to.emit(
            "batch_norm",
            x=x,
            mean=mean,
            variance=variance,
            gamma=scale,
            beta=bias,
            epsilon=epsilon,
        )
    else:
        factor = scale / np.sqrt(variance + np.float32(epsilon))
        made = _affine(to, x, factor, bias - mean * factor)
    settle(node, to, made)


def _affine(to: Forms, x: Any, scale: Any, bias: Any) -> Any:
    """x * scale + bias, one number per channel [B,C,...]."""
    rank = len(sizes(x))
    if rank >= 3 and not is_var(scale) and not is_var(bias):
        ones = np.ones_like(scale)
        zeros = np.zeros_like(scale)
        return to.emit(
            "batch_norm", x=x, mean=zeros, variance=ones, gamma=scale, beta=bias, epsilon=0.0
        )
    lined = [-1, *[1] * (rank - 2)] if rank > 1 else [-1]
    scaled = to.emit("mul", x=x, y=to.reshape(scale, [sizes(scale)[0], *lined[1:]]))
    return to.emit("add", x=scaled, y=to.reshape(bias, [sizes(bias)[0], *lined[1:]]))


def _instance_norm(node: ir.Node, to: Forms) -> None:
    x, scale, bias = (operand(node, to, index) for index in range(3))
    epsilon = float(attribute(node, "epsilon", 1e-5))
    settle(node, to, _per_instance(to, x, scale, bias, epsilon))


def _per_instance(to: Forms, x: Any, scale: Any, bias: Any, epsilon: float) -> Any:
    rank = len(sizes(x))
    if rank <= 4 and not is_var(scale) and not is_var(bias):
        return to.emit("instance_norm", x=x, gamma=scale, beta=bias, epsilon=epsilon)
    axes = list(range(2, rank))
    return _affine(to, to.emit("layer_norm", x=x, axes=axes, epsilon=epsilon), scale, bias)


def _layer_norm(node: ir.Node, to: Forms) -> None:
    only_outputs(node, 1)
    x, scale, bias = (operand(node, to, index) for index in range(3))
    rank, epsilon = len(sizes(x)), float(attribute(node, "epsilon", 1e-5))
    axes = list(range(attribute(node, "axis", -1) % rank, rank))
    inner = sizes(x)[axes[0] :]
    not_free(node, *inner)
    constant = not is_var(scale) and not is_var(bias)
    if constant and _fits(scale, inner) and (bias is None or _fits(bias, inner)):
        gamma, beta = (None if a is None else np.broadcast_to(a, inner) for a in (scale, bias))
        made = to.emit("layer_norm", x=x, axes=axes, gamma=gamma, beta=beta, epsilon=epsilon)
    else:
        made = to.emit("layer_norm", x=x, axes=axes, epsilon=epsilon)
        made = to.emit("mul", x=made, y=scale)
        made = made if bias is None else to.emit("add", x=made, y=bias)
    settle(node, to, made)


def _fits(array: Any, inner: tuple[int, ...]) -> bool:
    """Whether the array broadcasts to the axes that are normalised, and to no others."""
    return array.ndim <= len(inner) and np.broadcast_shapes(array.shape, inner) == inner


def _group_norm(node: ir.Node, to: Forms) -> None:
    x, scale, bias = (operand(node, to, index) for index in range(3))
    groups, epsilon = attribute(node, "num_groups"), float(attribute(node, "epsilon", 1e-5))
    batch, channels, *plane = sizes(x)
    scale, bias = (_each_channel(node, array, channels) for array in (scale, bias))
    if groups == channels:
        settle(node, to, _per_instance(to, x, scale, bias, epsilon))
        return
    rows = to.reshape(x, [batch, groups, channels // groups * int(np.prod(plane))])
    normal = to.emit("layer_norm", x=rows, axes=[2], epsilon=epsilon)
    settle(node, to, _affine(to, to.reshape(normal, [batch, channels, *plane]), scale, bias))


def _each_channel(node: ir.Node, array: Any, channels: int) -> Any:
    """Numbers per channel; up to opset 20 they are given per group."""
    have = sizes(array)[0]
    if have == channels:
        return array
    if is_var(array):
        raise refusal(node, "its scale per group is computed", "use opset 21, with one per channel")
    return np.repeat(array, channels // have)


def _rms_norm(node: ir.Node, to: Forms) -> None:
    x, scale = operand(node, to, 0), operand(node, to, 1)
    rank, epsilon = len(sizes(x)), float(attribute(node, "epsilon", 1e-5))
    axes = list(range(attribute(node, "axis", -1) % rank, rank))
    mean = to.emit("reduce_mean", x=to.emit("square", x=x), axes=axes, keep_dims=True)
    made = to.emit("mul", x=x, y=to.emit("rsqrt", x=mean, epsilon=epsilon))
    settle(node, to, to.emit("mul", x=made, y=scale))


def _lp_norm(node: ir.Node, to: Forms) -> None:
    x, axis = operand(node, to, 0), attribute(node, "axis", -1)
    kind = {1: "reduce_l1_norm", 2: "reduce_l2_norm"}[attribute(node, "p", 2)]
    length = to.emit(kind, x=x, axes=[axis], keep_dims=True)
    settle(node, to, to.emit("real_div", x=x, y=length))


def _lrn(node: ir.Node, to: Forms) -> None:
    size = attribute(node, "size")
    if size % 2 == 0:
        raise refusal(
            node,
            f"Core ML does not say which {size} channels an even size takes",
            "use an odd size",
        )
    made = to.emit(
        "local_response_norm",
        x=operand(node, to, 0),
        size=size,
        alpha=float(attribute(node, "alpha", 1e-4)),
        beta=float(attribute(node, "beta", 0.75)),
        k=float(attribute(node, "bias", 1.0)),
    )
    settle(node, to, made)


OPERATORS: dict[str, Callable[[ir.Node, Forms], None]] = {
    "BatchNormalization": _batch_norm,
    "Gemm": _gemm,
    "GroupNormalization": _group_norm,
    "Hardmax": _hardmax,
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _log_softmax,
    "LpNormalization": _lp_norm,
    "MatMul": _matmul,
    "RMSNormalization": _rms_norm,
    "Softmax": _softmax,
}
