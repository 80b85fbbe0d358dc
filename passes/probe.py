"""What a part of a graph computes, found out by running numbers through it in float64.

Only smooth operators are run (sums, products, softmax, data movement), so a part is an analytic
function of its sources: if it agrees with a formula at a random point, it is that formula. Chosen
numbers make structure visible: keys that are their own positions show who attends to what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops import registry
from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.reference import softmax
from attnc.passes.graph import Array, Refuse, attribute, const, input_at, ints, is_op
from attnc.passes.movement import MOVES, apply_move, data_inputs

Run = Callable[[ir.Node, list[Array]], Array]
#: Operators of ours that average: linear, so that they may be part of what is probed.
AVERAGES = frozenset({"GridPool"})


def _pad(node: ir.Node, arrays: list[Array]) -> Array:
    value = const(input_at(node, 2))
    if attribute(node, "mode", "constant") != "constant" or (value is not None and value.any()):
        raise Refuse("its padding is not zero", node)
    pads, axes = ints(input_at(node, 1)) or attribute(node, "pads"), ints(input_at(node, 3))
    if pads is None or min(pads) < 0:
        raise Refuse("its pads are not constant, or cut", node)
    widths = [(0, 0)] * arrays[0].ndim
    for place, axis in enumerate(axes or range(arrays[0].ndim)):
        widths[axis] = (pads[place], pads[place + len(pads) // 2])
    return np.pad(arrays[0], widths)


def _reduce(function: Callable[..., Array]) -> Run:
    def run(node: ir.Node, arrays: list[Array]) -> Array:
        axes = ints(input_at(node, 1)) or attribute(node, "axes")
        keep = bool(attribute(node, "keepdims", 1))
        return function(arrays[0], axis=tuple(axes) if axes else None, keepdims=keep)

    return run


def _softmax(node: ir.Node, arrays: list[Array]) -> Array:
    axis = attribute(node, "axis", -1)
    return np.moveaxis(softmax(np.moveaxis(arrays[0], axis, -1)), -1, axis)


def _average_pool(node: ir.Node, arrays: list[Array]) -> Array:
    (kh, kw), x = attribute(node, "kernel_shape"), arrays[0]
    sh, sw = attribute(node, "strides") or (1, 1)
    plain = attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    if any(attribute(node, "pads") or ()) or attribute(node, "ceil_mode", 0) or not plain:
        raise Refuse("its averages reach over the edge", node)
    view = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), (2, 3))
    return np.asarray(view[:, :, ::sh, ::sw].mean((4, 5)))


def _sum(node: ir.Node, arrays: list[Array]) -> Array:
    return np.asarray(sum(arrays[1:], arrays[0]))


RUNS: dict[str, Run] = {
    "Add": lambda node, a: a[0] + a[1],
    "AveragePool": _average_pool,
    "Div": lambda node, a: a[0] / a[1],
    "Einsum": lambda node, a: np.einsum(attribute(node, "equation").replace(" ", ""), *a),
    "GlobalAveragePool": lambda node, a: a[0].mean((2, 3), keepdims=True),
    "MatMul": lambda node, a: a[0] @ a[1],
    "Mul": lambda node, a: a[0] * a[1],
    "Neg": lambda node, a: -a[0],
    "Pad": _pad,
    "ReduceMean": _reduce(np.mean),
    "ReduceSum": _reduce(np.sum),
    "Softmax": _softmax,
    "Sub": lambda node, a: a[0] - a[1],
    "Sum": _sum,
}


def can_run(node: ir.Node | None) -> bool:
    """Whether this operator may be part of what is probed."""
    if node is None:
        return False
    return is_op(node, *RUNS, *MOVES) or (node.domain == DOMAIN and node.op_type in AVERAGES)


def operands(node: ir.Node) -> list[ir.Value]:
    """The computed inputs: no constants, no shapes, no axes."""
    taken = data_inputs(node) if is_op(node, *MOVES) else node.inputs
    if is_op(node, "Pad", "ReduceSum", "ReduceMean"):
        taken = node.inputs[:1]
    return [value for value in taken if value is not None and const(value) is None]


class Probe:
    """Runs numbers from given sources; `batch` stands for symbolic batch sizes."""

    def __init__(self, sources: Mapping[ir.Value, Array], batch: int) -> None:
        self._known: dict[ir.Value, Array] = dict(sources)
        self._batch = batch

    def run(self, value: ir.Value) -> Array:
        """The numbers of `value`; refuses where it needs more than the sources."""
        for node in self.needed(value):
            self._step(node)
        return self._known[value]

    def needed(self, value: ir.Value) -> list[ir.Node]:
        """The nodes between the sources and `value`, in order (no recursion: sums are long)."""
        order: dict[ir.Node, None] = {}
        stack: list[tuple[ir.Value, bool]] = [(value, False)]
        while stack:
            at, ready = stack.pop()
            node = at.producer()
            if at in self._known or (node is not None and node in order):
                continue
            if node is None or not can_run(node):
                what = node.op_type if node is not None else "an input of the graph"
                raise Refuse(f"{at.name!r} comes from {what}, not from q, k and v", node)
            if ready:
                order[node] = None
                continue
            stack.append((at, True))
            stack.extend((found, False) for found in operands(node))
        return list(order)

    def _step(self, node: ir.Node) -> None:
        if is_op(node, *MOVES):
            taken = [self._value(value) for value in data_inputs(node)]
            outputs = apply_move(node, taken, self._batch)
        else:
            taken = [self._value(value) for value in node.inputs if value is not None]
            try:
                outputs = [self._compute(node, taken)]
            except (ValueError, IndexError) as error:
                raise Refuse(f"its sizes do not fit: {error}", node) from error
        self._known.update(zip(node.outputs, outputs, strict=True))

    def _compute(self, node: ir.Node, arrays: list[Array]) -> Array:
        if node.domain == DOMAIN:
            attributes = {name: found.value for name, found in node.attributes.items()}
            return np.asarray(registry.get(node.op_type).reference(*arrays, **attributes))
        return RUNS[node.op_type](node, arrays)

    def _value(self, value: ir.Value) -> Array:
        found = self._known.get(value)
        if found is None:
            array = const(value)
            assert array is not None
            found = array.astype(np.float64) if array.dtype.kind == "f" else array
        return found
