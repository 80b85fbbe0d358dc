"""Turns arithmetic on shapes into constants, with the batch left open.

    x -> Shape -> Gather(0) -> Concat(., 64, -1) -> Reshape(x, .)   =>   Reshape(x, [0, 64, -1])

Sizes that are not known stay symbols: a batch size is never baked in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import attribute, const, constant, input_at, is_op
from attnc.passes.graph import ints as const_ints

#: A size: known, or a symbol (equal names are equal sizes).
Size = int | str
#: Small integer tensors are followed as (flat sizes, whether it has one axis rather than none).
Sizes = tuple[tuple[Size, ...], bool]
MOST = 16


class FoldShapes(AnchorPass):
    """Shape, Gather, Slice, Concat, arithmetic ... as far as the sizes are known."""

    name = "fold_shapes"
    reason = "older exporters compute every Reshape's target from Shape nodes"

    def begin(self, graph: ir.Graph) -> None:
        """Follow all small integer tensors of the graph."""
        self._known: dict[ir.Value, Sizes] = {}
        for node in graph:
            found = self._follow(node)
            if found is not None:
                self._known[node.outputs[0]] = found

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """A known integer tensor, or the target of a Reshape, becomes a constant."""
        if is_op(node, "Reshape"):
            return self._fix_reshape(node, graph)
        if is_op(node, "Expand"):
            return self._fix_expand(node, graph)
        if not node.outputs or node.outputs[0] not in self._known:
            return False
        value = node.outputs[0]
        sizes, has_axis = self._known[value]
        if any(isinstance(size, str) for size in sizes) or value.is_graph_output():
            return False
        dtype = np.int64 if value.dtype is None else value.dtype.numpy()
        array = np.array(sizes if has_axis else sizes[0], dtype=dtype)
        ir.convenience.replace_all_uses_with(value, constant(graph, array, value.name or "sizes"))
        graph.remove(node, safe=True)
        return True

    def _fix_reshape(self, node: ir.Node, graph: ir.Graph) -> bool:
        target = node.inputs[1]
        if target is None or const(target) is not None or target not in self._known:
            return False
        wanted = self._known[target][0]
        data = node.inputs[0]
        given = _dimensions(data) or []
        literal: list[int] = []
        for axis, size in enumerate(wanted):
            same = axis < len(given) and given[axis] == size
            literal.append(size if isinstance(size, int) else 0 if same else -1)
        if literal.count(-1) > 1 or attribute(node, "allowzero", 0) or 0 in wanted:
            return False
        node.replace_input_with(1, constant(graph, np.array(literal), f"{node.name}_shape"))
        return True

    def _fix_expand(self, node: ir.Node, graph: ir.Graph) -> bool:
        """An Expand to a target that is its input's own shape (in symbols) goes away."""
        data, target = node.inputs[0], node.inputs[1]
        if data is None or target is None or target not in self._known:
            return False
        if list(self._known[target][0]) != _dimensions(data) or node.outputs[0].is_graph_output():
            return False
        ir.convenience.replace_all_uses_with(node.outputs[0], data)
        graph.remove(node, safe=True)
        return True

    def _sizes(self, value: ir.Value | None) -> Sizes | None:
        if value in self._known:
            return self._known[value]
        array = const(value)
        if array is None or array.size > MOST or array.ndim > 1:
            return None
        if not np.issubdtype(array.dtype, np.integer):
            return None
        return tuple(int(item) for item in array.reshape(-1)), array.ndim == 1

    def _follow(self, node: ir.Node) -> Sizes | None:
        if is_op(node, "Shape"):
            return _shape_of(node)
        if is_op(node, *_RULES):
            inputs = [self._sizes(v) for v in node.inputs if v is not None]
            known = [sizes for sizes in inputs if sizes is not None]
            if len(known) == len(inputs) and known:
                return _RULES[node.op_type](node, known)
        return None


def _dimensions(value: ir.Value | None) -> list[Size] | None:
    if value is None or value.shape is None:
        return None
    found: list[Size] = []
    for axis, size in enumerate(value.shape):
        unknown = f"?{value.name}:{axis}"
        found.append(size if isinstance(size, int) else str(size.value or unknown))
    return found


def _shape_of(node: ir.Node) -> Sizes | None:
    sizes = _dimensions(node.inputs[0])
    if sizes is None:
        return None
    end = attribute(node, "end", len(sizes))
    return tuple(sizes[attribute(node, "start", 0) : end]), True


def _gather(node: ir.Node, known: Sequence[Sizes]) -> Sizes | None:
    (data, has_axis), (index, many) = known[0], known[1]
    if not has_axis or not all(isinstance(i, int) and -len(data) <= i < len(data) for i in index):
        return None
    return tuple(data[int(i)] for i in index), many


def _slice(node: ir.Node, known: Sequence[Sizes]) -> Sizes | None:
    rest = [const_ints(input_at(node, i)) for i in (1, 2)]
    steps = const_ints(input_at(node, 4)) or [1]
    if not known[0][1] or any(part is None or len(part) != 1 for part in rest):
        return None
    start, end = (part[0] for part in rest if part is not None)
    return known[0][0][start : end : steps[0]], True


def _concat(node: ir.Node, known: Sequence[Sizes]) -> Sizes | None:
    if not all(has_axis for _, has_axis in known):
        return None
    return tuple(size for sizes, _ in known for size in sizes), True


def _same(node: ir.Node, known: Sequence[Sizes]) -> Sizes | None:
    target = attribute(node, "to")
    if target is not None and ir.DataType(target) not in (ir.DataType.INT64, ir.DataType.INT32):
        return None
    return known[0]


def _with_axis(node: ir.Node, known: Sequence[Sizes]) -> Sizes | None:
    return None if known[0][1] else (known[0][0], True)


def _without_axis(node: ir.Node, known: Sequence[Sizes]) -> Sizes | None:
    return (known[0][0], False) if known[0][1] and len(known[0][0]) == 1 else None


def _reshape(node: ir.Node, known: Sequence[Sizes]) -> Sizes | None:
    target = known[1][0]
    if len(target) > 1 or (len(target) == 1 and target[0] not in (-1, len(known[0][0]))):
        return None
    return known[0][0], len(target) == 1


def _elementwise(
    compute: Callable[[int, int], int], neutral: int | None
) -> Callable[..., Sizes | None]:
    def one(a: Size, b: Size) -> Size | None:
        if isinstance(a, int) and isinstance(b, int):
            return compute(a, b)
        if b == neutral:
            return a
        return f"({a},{compute.__name__},{b})"

    def rule(node: ir.Node, known: Sequence[Sizes]) -> Sizes | None:
        (a, a_axis), (b, b_axis) = known
        count = max(len(a), len(b))
        if len(a) not in (1, count) or len(b) not in (1, count):
            return None
        pairs = zip(a * (count // len(a)), b * (count // len(b)), strict=True)
        found = [one(x, y) for x, y in pairs]
        sizes = tuple(size for size in found if size is not None)
        return (sizes, a_axis or b_axis) if len(sizes) == count else None

    return rule


def add(a: int, b: int) -> int:
    """a + b"""
    return a + b


def sub(a: int, b: int) -> int:
    """a - b"""
    return a - b


def mul(a: int, b: int) -> int:
    """a * b"""
    return a * b


def div(a: int, b: int) -> int:
    """a / b towards zero, as ONNX divides integers."""
    return int(a / b) if b else 0


def mod(a: int, b: int) -> int:
    """a modulo b, with the sign of b, as ONNX has it for integers."""
    return a % b if b else 0


_RULES: dict[str, Callable[[ir.Node, Sequence[Sizes]], Sizes | None]] = {
    "Add": _elementwise(add, 0),
    "Cast": _same,
    "Concat": _concat,
    "Div": _elementwise(div, 1),
    "Gather": _gather,
    "Identity": _same,
    "Mod": _elementwise(mod, None),
    "Mul": _elementwise(mul, 1),
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _without_axis,
    "Sub": _elementwise(sub, 0),
    "Unsqueeze": _with_axis,
}
