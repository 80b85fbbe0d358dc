"""Removes operators that return their input.

x -> Dropout -> Reshape(same shape) -> Transpose(p) -> Transpose(p inverse) -> y   =>   x = y
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import (
    attribute,
    const,
    input_at,
    ints,
    is_op,
    new_node,
    replace,
    scalar,
    shape,
)


class RemoveIdentity(AnchorPass):
    """Identity, Dropout, Cast to the same type, Reshape/Slice/Pad/... that change nothing."""

    name = "remove_identity"
    reason = "operators that return their input only hide the patterns"

    def __init__(self) -> None:
        self.anchors = frozenset(UNCHANGED)

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Users of the output read the input instead."""
        if any(other.uses() or other.is_graph_output() for other in node.outputs[1:]):
            return False
        if is_op(node, "Transpose") and _merge_transposes(node, graph):
            return True
        if is_op(node, "CastLike") and _name_type(node, graph):
            return True
        kept = UNCHANGED[node.op_type](node)
        out = node.outputs[0]
        if kept is None:
            return False
        if not out.is_graph_output():
            ir.convenience.replace_all_uses_with(out, kept)
        elif kept.is_graph_output() or kept.producer() is None:
            return False
        else:
            name = out.name
            ir.convenience.replace_all_uses_with(out, kept, replace_graph_outputs=True)
            out.name, kept.name = f"{name}_replaced", name
        graph.remove(node, safe=True)
        return True


def _always(node: ir.Node) -> ir.Value | None:
    return node.inputs[0]


def _dropout(node: ir.Node) -> ir.Value | None:
    training = input_at(node, 2)
    return node.inputs[0] if training is None or scalar(training) == 0 else None


def _cast(node: ir.Node) -> ir.Value | None:
    data = node.inputs[0]
    wanted = attribute(node, "to") if is_op(node, "Cast") else _dtype(node.inputs[1])
    return data if wanted is not None and _dtype(data) == wanted else None


def _name_type(node: ir.Node, graph: ir.Graph) -> bool:
    """A CastLike that changes the type becomes a Cast: it reads a whole tensor for its type."""
    data, wanted = node.inputs[0], _dtype(node.inputs[1])
    if data is None or wanted is None or _dtype(data) in (None, wanted):
        return False
    cast = new_node("Cast", [data], {"to": wanted}, like=node.outputs[0])
    replace(graph, node, [node], [cast])
    return True


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    return None if value is None else value.dtype


def _concat(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _transpose(node: ir.Node) -> ir.Value | None:
    perm = attribute(node, "perm")
    return node.inputs[0] if perm is not None and perm == sorted(perm) else None


def _split(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if len(node.outputs) == 1 else None


def _pad(node: ir.Node) -> ir.Value | None:
    pads = ints(input_at(node, 1))
    return node.inputs[0] if pads is not None and not any(pads) else None


def _slice(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if _takes_all(node) else None


def _arithmetic(node: ir.Node) -> ir.Value | None:
    neutral = 0.0 if is_op(node, "Add", "Sub") else 1.0
    pairs = [(node.inputs[0], node.inputs[1])]
    if is_op(node, "Add", "Mul"):
        pairs.append((node.inputs[1], node.inputs[0]))
    for data, other in pairs:
        array = const(other)
        if data is None or array is None or not 0 < array.size <= 4096:
            continue
        out, given = node.outputs[0].shape, data.shape
        if np.all(array == neutral) and out is not None and given is not None and out == given:
            return data
    return None


def _reorder_nothing(node: ir.Node) -> ir.Value | None:
    data = node.inputs[0]
    return data if _same_shape(node, data, node.outputs[0]) else None


def _takes_all(node: ir.Node) -> bool:
    sizes = shape(node.inputs[0])
    starts, ends = ints(input_at(node, 1)), ints(input_at(node, 2))
    steps = ints(input_at(node, 4)) if input_at(node, 4) is not None else None
    axes = ints(input_at(node, 3)) if input_at(node, 3) is not None else None
    if sizes is None or starts is None or ends is None:
        return False
    axes = list(range(len(starts))) if axes is None else axes
    if any(step != 1 for step in steps or []) or any(starts):
        return False
    known = [sizes[axis] for axis in axes]
    return all(
        end >= (2**31 - 1 if size is None else size) for size, end in zip(known, ends, strict=True)
    )


def _same_shape(node: ir.Node, data: ir.Value | None, out: ir.Value) -> bool:
    """For operators that keep the order of elements: equal shapes, at most one of them symbolic."""
    if data is None or data.shape is None or out.shape is None:
        return False
    if is_op(node, "Reshape"):
        target = ints(input_at(node, 1))
        sizes = shape(data)
        if target is None or sizes is None or len(target) != len(sizes):
            return data.shape == out.shape and data.shape.is_static()
        kept = [
            (t == s) or (t == 0 and not attribute(node, "allowzero", 0))
            for t, s in zip(target, sizes, strict=True)
        ]
        inferred = [t for t, k in zip(target, kept, strict=True) if not k]
        return not inferred or inferred == [-1]
    return bool(data.shape == out.shape) and _symbols_named(data)


def _symbols_named(value: ir.Value) -> bool:
    assert value.shape is not None
    return all(isinstance(size, int) or size.value for size in value.shape)


def _merge_transposes(node: ir.Node, graph: ir.Graph) -> bool:
    """Transpose(p) -> Transpose(q) is one Transpose, or nothing."""
    data = node.inputs[0]
    first = data.producer() if data is not None else None
    perm = attribute(node, "perm")
    if first is None or not is_op(first, "Transpose") or perm is None:
        return False
    before = attribute(first, "perm")
    if before is None:
        return False
    both = [before[axis] for axis in perm]
    merged = new_node("Transpose", [first.inputs[0]], {"perm": both}, like=node.outputs[0])
    replace(graph, node, [first], [merged])
    return True


UNCHANGED: dict[str, Callable[[ir.Node], ir.Value | None]] = {
    "Add": _arithmetic,
    "Cast": _cast,
    "CastLike": _cast,
    "Concat": _concat,
    "Div": _arithmetic,
    "Dropout": _dropout,
    "Expand": _reorder_nothing,
    "Flatten": _reorder_nothing,
    "Identity": _always,
    "Mul": _arithmetic,
    "Pad": _pad,
    "Reshape": _reorder_nothing,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _reorder_nothing,
    "Sub": _arithmetic,
    "Transpose": _transpose,
    "Unsqueeze": _reorder_nothing,
}
