"""Standard operators on values that are held channels first: they stay so where they can.

A Transpose between maps and pixels, and a Reshape between pixels and tokens, cost nothing; sums,
activations and norms work on either form. Each function returns False where it cannot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import Array, attribute, const, input_at, ints, is_const
from attnc.targets.coreml.forms import Forms, channels_first
from attnc.targets.coreml.fused.linear import Rows
from attnc.targets.coreml.standard.cuts import cut_axis
from attnc.targets.coreml.writer import is_var, sizes

_BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "real_div"}
_UNARY = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh"}
_TO_PIXELS, _TO_MAP = [0, 2, 3, 1], [0, 3, 1, 2]


def transpose(node: ir.Node, to: Forms) -> bool:
    """Between maps [B,C,H,W] and pixels, and between [B,C,N] and tokens."""
    x, out, perm = node.inputs[0], node.outputs[0], attribute(node, "perm")
    if perm == _TO_PIXELS and not is_const(x):
        to.set_first(out, to.plain(x))
        return True
    if perm == _TO_MAP and to.is_first(x):
        _, height, width, _ = to.sizes(x)
        to.set(out, to.first_at(x, height, width))
        return True
    if perm == [0, 2, 1] and not is_const(x):
        return _turn_rows(x, out, to)
    return False


def _turn_rows(x: ir.Value | None, out: ir.Value, to: Forms) -> bool:
    """[B,C,N] that comes from a map is tokens channels first, and the other way round."""
    batch, rows, columns = to.sizes(x)
    if to.is_first(x):
        to.set(out, to.reshape(to.first(x), [batch, columns, rows]))
        return True
    held = to.plain(x)
    maker = held.op
    if maker is None or maker.op_type != "reshape":
        return False
    before = sizes(maker.x)
    if len(before) == 4 and before[:2] == (batch, rows):
        to.set_first(out, maker.x)
    else:
        to.set_first(out, to.reshape(held, [batch, rows, 1, columns]))
    return True


def reshape(node: ir.Node, to: Forms) -> bool:
    """Between pixels [B,H,W,C] and tokens [B,H*W,C]."""
    x, out = node.inputs[0], node.outputs[0]
    if not to.is_first(x):
        return False
    before, after = to.sizes(x), to.sizes(out)
    if len(after) in (3, 4) and (before[0], before[-1]) == (after[0], after[-1]):
        to.set_first(out, to.first(x))
        return True
    if after == [before[0], before[-1]]:  # one place
        to.set(out, to.reshape(to.first(x), after))
        return True
    return False


def concat(node: ir.Node, to: Forms) -> bool:
    """Of tokens along the tokens, or along the channels."""
    values = [value for value in node.inputs if value is not None]
    rank = len(to.sizes(node.outputs[0]))
    axis = attribute(node, "axis") % rank
    if rank != 3 or axis == 0 or not any(to.is_first(value) for value in values):
        return False
    parts = [to.first(value) for value in values]
    if axis == 2:
        plane = next(sizes(part)[2:] for part in parts if is_var(part))
        parts = [to.placed(part, *plane) for part in parts]
    else:
        parts = [to.placed(part, 1, math.prod(sizes(part)[2:])) for part in parts]
    made = to.emit("concat", values=parts, axis=3 if axis == 1 else 1)
    to.set_first(node.outputs[0], made)
    return True


def binary(node: ir.Node, to: Forms) -> bool:
    """Of two values of one shape, or one value and a constant that broadcasts to it."""
    values, out = [value for value in node.inputs if value is not None], node.outputs[0]
    lead = next((value for value in values if to.is_first(value)), None)
    if lead is None or to.sizes(lead) != to.sizes(out):
        return False
    x = to.first(lead)
    sides: list[Any] = []
    for value in values:
        side = _beside(value, lead, x, to)
        if side is None:
            return False
        sides.append(side)
    to.set_first(out, to.emit(_BINARY[node.op_type], x=sides[0], y=sides[1]))
    return True


def _beside(value: ir.Value, lead: ir.Value, x: Any, to: Forms) -> Any:
    """A value in the form of x, None if it has none that fits."""
    if value is lead:
        return x
    array, plane = const(value), sizes(x)[2:]
    if array is None:
        same = to.sizes(value) == to.sizes(lead)
        return to.placed(to.first(value), *plane) if same else None
    if array.size == 1:
        return array.reshape(())
    whole = to.sizes(lead)
    return _constant_beside(to, array, whole, plane) if array.ndim <= len(whole) else None


def _constant_beside(to: Forms, array: Array, whole: Sequence[int], plane: Sequence[int]) -> Any:
    array = array.reshape((1,) * (len(whole) - array.ndim) + array.shape)
    batch, *middle, channels = array.shape
    if math.prod(middle) == 1:
        return to.placed(channels_first(array), *(1 for _ in plane))
    array = np.broadcast_to(array, (batch, *whole[1:-1], channels))
    return to.placed(channels_first(array), *plane)


def unary(node: ir.Node, to: Forms) -> bool:
    """Activations, element by element."""
    x = node.inputs[0]
    if not to.is_first(x):
        return False
    to.set_first(node.outputs[0], to.emit(_UNARY[node.op_type], x=to.first(x)))
    return True


def gelu(node: ir.Node, to: Forms) -> bool:
    """Exact, or by tanh."""
    x = node.inputs[0]
    if not to.is_first(x):
        return False
    mode = "TANH_APPROXIMATION" if attribute(node, "approximate", "none") == "tanh" else "EXACT"
    to.set_first(node.outputs[0], to.emit("gelu", x=to.first(x), mode=mode))
    return True


def layer_norm(node: ir.Node, to: Forms) -> bool:
    """Over the channels."""
    x = node.inputs[0]
    rank = len(to.sizes(x))
    if attribute(node, "axis", -1) % rank != rank - 1 or not to.is_first(x):
        return False
    gamma, beta = to.plain(input_at(node, 1)), to.plain(input_at(node, 2))
    if (is_var(gamma) or is_var(beta)) or any(v.uses() for v in node.outputs[1:]):
        return False
    epsilon = attribute(node, "epsilon", 1e-5)
    Rows(to, to.first(x), True).norm(epsilon, gamma, beta).put(node.outputs[0])
    return True


def gather(node: ir.Node, to: Forms) -> bool:
    """One token, or a run of them."""
    x, index = node.inputs[0], ints(node.inputs[1])
    if not to.is_first(x) or not index or len(to.sizes(node.outputs[0])) > 3:
        return False
    _, *middle, _ = to.sizes(x)
    if len(middle) != 1 or attribute(node, "axis", 0) != 1:
        return False
    found = [place % middle[0] for place in index]
    if found != list(range(found[0], found[0] + len(found))):
        return False
    part = _tokens(to, x, found[0], found[0] + len(found))
    if len(to.sizes(node.outputs[0])) == 3:
        to.set_first(node.outputs[0], part)
    else:
        to.set(node.outputs[0], to.reshape(part, to.sizes(node.outputs[0])))
    return True


def slice_tokens(node: ir.Node, to: Forms) -> bool:
    """A run of tokens."""
    x = node.inputs[0]
    bounds = [ints(input_at(node, place)) for place in (1, 2, 3)]
    steps = ints(input_at(node, 4)) or [1]
    if not to.is_first(x) or any(bound is None or len(bound) != 1 for bound in bounds):
        return False
    whole = to.sizes(x)
    (begin,), (end,), (axis,) = (bound or [0] for bound in bounds)
    if len(whole) != 3 or axis % 3 != 1 or steps != [1]:
        return False
    begin, end, _ = slice(begin, end).indices(whole[1])
    if begin >= end:
        return False
    to.set_first(node.outputs[0], _tokens(to, x, begin, end))
    return True


def _tokens(to: Forms, x: ir.Value | None, begin: int, end: int) -> Any:
    _, count, _ = to.sizes(x)
    if (begin, end) == (0, count):
        return to.first(x)
    return cut_axis(to, to.first_at(x, 1, count), 3, begin, end)


def squeeze(node: ir.Node, to: Forms) -> bool:
    """[B,1,C] to [B,C]."""
    x, out = node.inputs[0], node.outputs[0]
    if not to.is_first(x):
        return False
    before, after = to.sizes(x), to.sizes(out)
    if after != [before[0], before[-1]] or int(np.prod(before[1:-1])) != 1:
        return False
    to.set(out, to.reshape(to.first(x), after))
    return True


def reduce_mean(node: ir.Node, to: Forms) -> bool:
    """Over all tokens or pixels."""
    x, out = node.inputs[0], node.outputs[0]
    axes = attribute(node, "axes") or ints(input_at(node, 1))
    if not to.is_first(x) or axes is None:
        return False
    rank = len(to.sizes(x))
    if sorted(axis % rank for axis in axes) != list(range(1, rank - 1)):
        return False
    keep = bool(attribute(node, "keepdims", 1))
    held = to.first(x)
    axes = list(range(2, len(sizes(held))))
    made = to.emit("reduce_mean", x=held, axes=axes, keep_dims=keep)
    if keep:
        to.set_first(out, made)
    else:
        to.set(out, made)
    return True


OPERATORS: dict[str, Callable[[ir.Node, Forms], bool]] = {
    "Transpose": transpose,
    "Reshape": reshape,
    "Concat": concat,
    **dict.fromkeys(_BINARY, binary),
    **dict.fromkeys(_UNARY, unary),
    "Gelu": gelu,
    "LayerNormalization": layer_norm,
    "Gather": gather,
    "Slice": slice_tokens,
    "Squeeze": squeeze,
    "ReduceMean": reduce_mean,
}
