"""Brings results of more than four axes to at most four: WebGPU's shaders are slow on more.

x [B,N,C] -> Reshape [B,N,3,H,D] -> Transpose [3,B,H,N,D] -> Split -> Squeeze
=>
x -> Reshape [B*N,3,C/3] -> Transpose [3,B*N,C/3] -> Split -> Reshape -> Transpose -> ...
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from attnc.compiler.provenance import copy_metadata
from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import (
    STANDARD,
    Refuse,
    attribute,
    constant,
    fresh_name,
    input_at,
    insert_before,
    ints,
    is_op,
    new_node,
    replace,
    shape,
)
from attnc.targets.web.merging import Sizes, transposes
from attnc.targets.web.narrow_forms import ELEMENTWISE, MOST_AXES, STEPWISE, Form, form_of, static

RESHAPES = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten"})


def is_wide(node: ir.Node) -> bool:
    """Whether an input or a result has more than four axes."""
    values = (*node.inputs, *node.outputs)
    return any(
        value is not None and value.shape is not None and len(value.shape) > MOST_AXES
        for value in values
    )


class NarrowAxes(AnchorPass):
    """Every operator on more than four axes, where its axes can be merged."""

    name = "narrow_axes"
    reason = "onnxruntime-web is slow on more than four axes, and WebGPU refuses some"

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Reshapes, the operator on fewer axes, reshapes back."""
        if not is_wide(node) or node.domain not in STANDARD:
            return False
        if node.op_type in RESHAPES:
            return _join_reshapes(node, graph)
        if is_op(node, "Transpose"):
            _narrow_transpose(node, graph)
        else:
            _narrow(node, graph)
        return True


def _join_reshapes(node: ir.Node, graph: ir.Graph) -> bool:
    """A reshape of a reshape reads what that one reads."""
    data = node.inputs[0]
    first = None if data is None else data.producer()
    known = all(value.shape is not None and value.shape.is_static() for value in node.outputs)
    if first is None or first.op_type not in RESHAPES or first.domain not in STANDARD or not known:
        return False
    made = _reshape(graph, first.inputs[0], static(node.outputs[0]), node.outputs[0])
    replace(graph, node, [first], [made])
    return True


def _reshape(graph: ir.Graph, data: ir.Value | None, sizes: Sizes, like: ir.Value) -> ir.Node:
    target = constant(graph, np.array(sizes, np.int64), "sizes")
    return new_node("Reshape", [data, target], like=like, sizes=sizes)


def _narrow_transpose(node: ir.Node, graph: ir.Graph) -> None:
    out, data = node.outputs[0], node.inputs[0]
    sizes = static(data)
    perm = attribute(node, "perm") or list(reversed(range(len(sizes))))
    chain: list[ir.Node] = []
    for form, order in transposes(sizes, perm):
        chain.append(_reshape(graph, data, form, out))
        moved = tuple(form[axis] for axis in order)
        turned = new_node("Transpose", chain[-1].outputs, {"perm": order}, like=out, sizes=moved)
        chain.append(turned)
        data = turned.outputs[0]
    replace(graph, node, [node], [*chain, _reshape(graph, data, static(out), out)])


def _narrow(node: ir.Node, graph: ir.Graph) -> None:
    form = _form(node, graph)
    if form is None:
        return  # changed in another way; the next sweep finds its form
    inputs, before = list(node.inputs), []
    for index, sizes in form.inputs.items():
        data = inputs[index]
        if data is not None and tuple(shape(data) or ()) != sizes:
            before.append(_reshape(graph, data, sizes, data))
            inputs[index] = before[-1].outputs[0]
    for index, array in form.constants.items():
        inputs += [None] * (index + 1 - len(inputs))
        inputs[index] = constant(graph, array, "sizes")
    kept = {name: found.value for name, found in node.attributes.items()}
    attributes = {**kept, **form.attributes}
    if "Reduce" in node.op_type:
        attributes.pop("axes", None)
    core = ir.node(node.op_type, inputs, attributes, num_outputs=len(node.outputs))
    after = []
    for old, new, sizes in zip(node.outputs, core.outputs, form.outputs, strict=True):
        new.type, new.shape = old.type, ir.Shape(sizes)
        after.append(_reshape(graph, new, static(old), old))
    _put(graph, node, [*before, core], after)


def _put(
    graph: ir.Graph, node: ir.Node, before: Sequence[ir.Node], after: Sequence[ir.Node]
) -> None:
    """`before` and then one of `after` per output, in the place of `node`."""
    made = [*before, *after]
    copy_metadata([node], made)
    for index, new in enumerate(made):
        new.name = f"{node.name}/{index}"
        for part, value in enumerate(new.outputs):
            value.name = fresh_name(graph, f"{node.name or node.op_type}_narrow{index}.{part}")
        graph.insert_before(node, [new])
    for old, last in zip(node.outputs, after, strict=True):
        name = old.name
        ir.convenience.replace_all_uses_with(old, last.outputs[0], replace_graph_outputs=True)
        old.name, last.outputs[0].name = f"{name}_replaced", name
    graph.remove(node, safe=True)


def _form(node: ir.Node, graph: ir.Graph) -> Form | None:
    """Its form; None if the node was changed instead so that it will have one."""
    try:
        return form_of(node)
    except Refuse:
        if not (_reduce_last(node, graph) or _widen(node, graph)):
            raise
        return None


def _reduce_last(node: ir.Node, graph: ir.Graph) -> bool:
    """Reduce the last of several axes first, by a node of its own."""
    axes = ints(input_at(node, 1)) if node.op_type in STEPWISE else None
    if axes is None or len(axes) < 2:
        return False
    sizes = static(node.inputs[0])
    last = max(axis % len(sizes) for axis in axes)
    rest = sorted({axis % len(sizes) for axis in axes} - {last})
    if not rest:
        return False
    fewer = (*sizes[:last], 1, *sizes[last + 1 :])
    first = constant(graph, np.array([last], np.int64), "axes")
    out = node.outputs[0]
    reduced = new_node(
        node.op_type, [node.inputs[0], first], {"keepdims": 1}, like=out, sizes=fewer
    )
    kept = tuple(1 if axis in rest else size for axis, size in enumerate(fewer))
    others = constant(graph, np.array(rest, np.int64), "axes")
    again = new_node(
        node.op_type, [reduced.outputs[0], others], {"keepdims": 1}, like=out, sizes=kept
    )
    replace(
        graph, node, [node], [reduced, again, _reshape(graph, again.outputs[0], static(out), out)]
    )
    return True


def _widen(node: ir.Node, graph: ir.Graph) -> bool:
    """Repeat one input of an elementwise operator along its last missing axis, on three axes."""
    if node.op_type not in ELEMENTWISE:
        return False
    whole = static(node.outputs[0])
    for index, value in enumerate(node.inputs):
        if value is None or not value.shape or prod(static(value)) == 1:
            continue
        sizes = (1,) * (len(whole) - len(static(value))) + static(value)
        missing = [axis for axis, size in enumerate(whole) if sizes[axis] != size]
        if missing:
            made = _repeated(graph, value, sizes, missing[-1], whole[missing[-1]])
            insert_before(graph, [node], made, [node])
            node.replace_input_with(index, made[-1].outputs[0])
            return True
    return False


def _repeated(
    graph: ir.Graph, value: ir.Value, sizes: Sizes, axis: int, count: int
) -> list[ir.Node]:
    """Nodes that give `value` with `count` times itself along an axis of size one."""
    before, after = prod(sizes[:axis]), prod(sizes[axis + 1 :])
    cut = _reshape(graph, value, (before, 1, after), value)
    target = constant(graph, np.array((before, count, after), np.int64), "sizes")
    grown = new_node("Expand", [cut.outputs[0], target], like=value, sizes=(before, count, after))
    full = (*sizes[:axis], count, *sizes[axis + 1 :])
    return [cut, grown, _reshape(graph, grown.outputs[0], full, value)]
