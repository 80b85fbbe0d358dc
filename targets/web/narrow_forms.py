"""What an operator on many axes becomes on at most four: the sizes of its inputs, its attributes.

One small function per kind of operator, in a table; the reshapes around are made elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import Array, Refuse, attribute, input_at, ints, shape
from attnc.targets.web.merging import Sizes, around, broadcast_groups, grouped

MOST_AXES = 4


@dataclass(frozen=True)
class Form:
    """The operator on fewer axes: `inputs` to reshape by place, what each output has then.

    `constants` replaces inputs by place, `attributes` some of the node's.
    """

    inputs: dict[int, Sizes]
    outputs: tuple[Sizes, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    constants: dict[int, Array] = field(default_factory=dict)


def static(value: ir.Value | None) -> Sizes:
    """All sizes of a value; refuses where one is not known."""
    sizes = shape(value)
    if sizes is None or None in sizes:
        raise Refuse(f"the sizes of {value.name if value else 'an input'!r} are not known")
    return tuple(size for size in sizes if size is not None)


def form_of(node: ir.Node) -> Form:
    """The form of a node. Raises Refuse where there is none, or none of at most four axes."""
    if node.op_type not in FORMS:
        raise Refuse(f"{node.op_type} has no form of at most {MOST_AXES} axes", node)
    found = FORMS[node.op_type](node)
    if max(map(len, (*found.inputs.values(), *found.outputs))) > MOST_AXES:
        raise Refuse(f"its axes cannot be merged into {MOST_AXES}", node)
    return found


def _elementwise(node: ir.Node) -> Form:
    """Broadcast alike, axes are one axis."""
    out = static(node.outputs[0])
    places = {
        index: static(value)
        for index, value in enumerate(node.inputs)
        if value is not None and static(value)
    }
    runs = broadcast_groups(list(places.values()), out)
    return Form(
        {index: grouped(sizes, runs, len(out)) for index, sizes in places.items()},
        (grouped(out, runs, len(out)),),
    )


def _only_first(node: ir.Node) -> Form:
    """What computes on each element of its first input alone."""
    sizes = (prod(static(node.inputs[0])),)
    return Form({0: sizes}, (sizes,))


def _axis(node: ir.Node, default: int) -> int:
    return int(attribute(node, "axis", default)) % len(static(node.inputs[0]))


def _three(sizes: Sizes, axis: int) -> Sizes:
    return prod(sizes[:axis]), sizes[axis], prod(sizes[axis + 1 :])


def _one_axis(default: int, count: int | None = 1) -> Callable[[ir.Node], Form]:
    """What works along one axis, all inputs and outputs alike; `count` inputs, None: all."""

    def form(node: ir.Node) -> Form:
        axis = _axis(node, default)
        data = node.inputs[:count] if count else node.inputs
        return Form(
            {index: _three(static(value), axis) for index, value in enumerate(data)},
            tuple(_three(static(value), axis) for value in node.outputs),
            {"axis": 1},
        )

    return form


def _gather_elements(node: ir.Node) -> Form:
    """Off the axis, the index may have fewer places than the data; merged, they would not meet."""
    axis = _axis(node, 0)
    data, index = static(node.inputs[0]), static(node.inputs[1])
    if data[:axis] + data[axis + 1 :] != index[:axis] + index[axis + 1 :]:
        raise Refuse("its index leaves out places of the data", node)
    return _one_axis(0, 2)(node)


def _gather(node: ir.Node) -> Form:
    sizes, axis, index = static(node.inputs[0]), _axis(node, 0), static(node.inputs[1])
    before, _, after = _three(sizes, axis)
    count = prod(index)
    return Form({0: _three(sizes, axis), 1: (count,)}, ((before, count, after),), {"axis": 1})


def _reduce(node: ir.Node) -> Form:
    """Reduced axes and kept ones in runs of their own; what is reduced keeps an axis of one."""
    sizes = static(node.inputs[0])
    given = ints(input_at(node, 1))
    if given is None and input_at(node, 1) is not None:
        raise Refuse("what it reduces is not a constant", node)
    axes = given or attribute(node, "axes")
    if not axes and attribute(node, "noop_with_empty_axes", 0):
        raise Refuse("it reduces nothing", node)
    axes = axes or range(len(sizes))
    gone = {axis % len(sizes) for axis in axes}
    runs: list[list[int]] = []
    for axis in (axis for axis in range(len(sizes)) if sizes[axis] != 1 or axis in gone):
        if runs and (axis in gone) == (runs[-1][-1] in gone):
            runs[-1].append(axis)
        else:
            runs.append([axis])
    inner = grouped(sizes, runs, len(sizes))
    reduced = [index for index, run in enumerate(runs) if run[0] in gone]
    out = tuple(1 if index in reduced else size for index, size in enumerate(inner))
    return Form({0: inner}, (out,), {"keepdims": 1}, {1: np.array(reduced, np.int64)})


def _special(node: ir.Node, axes: Sequence[int], out: Sizes) -> tuple[Form, list[int]]:
    """Axes that are cut or padded stand alone; also their places in the new order."""
    sizes = static(node.inputs[0])
    runs = around(len(sizes), axes)
    places = [next(i for i, run in enumerate(runs) if run == [axis]) for axis in axes]
    return Form({0: grouped(sizes, runs, len(sizes))}, (grouped(out, runs, len(sizes)),)), places


def _slice(node: ir.Node) -> Form:
    sizes, starts = static(node.inputs[0]), ints(node.inputs[1])
    given = ints(input_at(node, 3))
    if starts is None or (given is None and input_at(node, 3) is not None):
        raise Refuse("where it cuts is not a constant", node)
    axes = [axis % len(sizes) for axis in (given or range(len(starts)))]
    form, places = _special(node, axes, static(node.outputs[0]))
    return Form(form.inputs, form.outputs, {}, {3: np.array(places, np.int64)})


def _matmul(node: ir.Node) -> Form:
    """The batch axes merge as in any broadcast, the last two of each stay."""
    a, b = (static(value) for value in node.inputs[:2])
    out = static(node.outputs[0])
    if min(len(a), len(b)) < 2:
        raise Refuse("one side is a vector", node)
    batch, rank = out[:-2], len(out) - 2
    runs = broadcast_groups([a[:-2], b[:-2]], batch)
    left, right, whole = (grouped(sizes[:-2], runs, rank) + sizes[-2:] for sizes in (a, b, out))
    return Form({0: left, 1: right}, (whole,))


def _expand(node: ir.Node) -> Form:
    sizes, out = static(node.inputs[0]), static(node.outputs[0])
    runs = broadcast_groups([sizes], out)
    whole = grouped(out, runs, len(out))
    return Form({0: grouped(sizes, runs, len(out))}, (whole,), {}, {1: np.array(whole, np.int64)})


def _layer_norm(node: ir.Node) -> Form:
    sizes, axis = static(node.inputs[0]), _axis(node, -1)
    two = (prod(sizes[:axis]), prod(sizes[axis:]))
    rest = {
        index: (two[1],) for index, value in enumerate(node.inputs) if index and value is not None
    }
    if len(node.outputs) > 1:
        raise Refuse("its mean is wanted", node)
    if any(prod(static(node.inputs[index])) != two[1] for index in rest):
        raise Refuse("its scale or shift is not of the axes that it normalises", node)
    return Form({0: two, **rest}, (two,), {"axis": 1})


_BINARY = "Add Sub Mul Div Pow Min Max Mod And Or Xor Where Less Greater Equal PRelu"
#: Reductions that may be done axis by axis.
STEPWISE = frozenset({"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"})
_ORDER = "LessOrEqual GreaterOrEqual"
#: What broadcasts its inputs.
ELEMENTWISE = frozenset(f"{_BINARY} {_ORDER}".split())
_UNARY = (
    "Relu Sigmoid Tanh Erf Exp Log Sqrt Neg Abs Cast Not Gelu Softplus Reciprocal Floor Ceil Round "
    "HardSigmoid HardSwish LeakyRelu Elu Sign Clip Sin Cos IsNaN IsInf Identity"
)
_REDUCE = "Sum Mean Max Min Prod L1 L2 SumSquare LogSumExp LogSum"

FORMS: dict[str, Callable[[ir.Node], Form]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(_UNARY.split(), _only_first),
    **{f"Reduce{kind}": _reduce for kind in _REDUCE.split()},
    "Concat": _one_axis(0, None),
    "Expand": _expand,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _one_axis(-1),
    "MatMul": _matmul,
    "Slice": _slice,
    "Softmax": _one_axis(-1),
    "Split": _one_axis(0),
    "TopK": _one_axis(-1),
}
