"""Small questions and edits that every pass needs: constants, attributes, uses, new nodes.

`Refuse` is how a pass says "here is my pattern, but I must not rewrite it, because ...".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.compiler.names import name_beside, taken_names
from attnc.compiler.provenance import copy_metadata

Array = NDArray[Any]
STANDARD = ("", "ai.onnx")


class Refuse(Exception):
    """The structure is there, a condition is not. Becomes a near-miss at `node`."""

    def __init__(self, reason: str, node: ir.Node | None = None) -> None:
        self.reason, self.node = reason, node
        super().__init__(reason)


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether `node` is one of these standard operators."""
    return node is not None and node.domain in STANDARD and node.op_type in op_types


def is_fused(node: ir.Node | None, *op_types: str) -> bool:
    """Whether `node` is one of these operators of the domain `attnc`."""
    return node is not None and node.domain == "attnc" and node.op_type in op_types


def const(value: ir.Value | None) -> Array | None:
    """The constant behind a value, as an array; None where it is computed or absent."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def is_const(value: ir.Value | None) -> bool:
    """Whether the value is known now (without reading it)."""
    return value is not None and ir.convenience.get_const_tensor(value) is not None


def scalar(value: ir.Value | None) -> float | None:
    """The one number of a constant with one element; None for anything else."""
    array = const(value)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def ints(value: ir.Value | None) -> list[int] | None:
    """A constant tensor of integers as a flat list."""
    array = const(value)
    return None if array is None else [int(item) for item in array.reshape(-1)]


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """An attribute's plain Python value, or `default`."""
    found = node.attributes.get(name)
    if found is None or found.is_ref():
        return default
    value = found.value
    return list(value) if isinstance(value, (tuple, list)) else value


def shape(value: ir.Value | None) -> list[int | None] | None:
    """Known sizes (None for a symbolic one); None where even the rank is unknown."""
    if value is None or value.shape is None:
        return None
    return [int(dim) if isinstance(dim, int) else None for dim in value.shape]


def opset(graph: ir.Graph) -> int:
    """Version of the standard operators that this graph imports."""
    return graph.opset_imports.get("", graph.opset_imports.get("ai.onnx", 1))


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """The input at that place; None where it was left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def sole_user(value: ir.Value) -> ir.Node | None:
    """The only node that reads `value`; None where several do, none does, or it is an output."""
    users = {use.node for use in value.uses()}
    if len(users) != 1 or value.is_graph_output():
        return None
    user, maker = users.pop(), value.producer()
    return user if maker is None or user.graph is maker.graph else None  # not into an If's body


def require_private(nodes: Iterable[ir.Node], kept: Collection[ir.Value]) -> None:
    """Refuse if a value inside `nodes` (other than those `kept`) is seen from outside them."""
    inside = dict.fromkeys(nodes)  # in order: the reason must be the same on every run
    for node in inside:
        for value in node.outputs:
            if value in kept:
                continue
            if value.is_graph_output():
                raise Refuse(f"the value {value.name!r} inside is an output of the graph", node)
            for use in value.uses():
                if use.node not in inside:
                    raise Refuse(
                        f"the value {value.name!r} inside has a second consumer, "
                        f"{use.node.op_type} {use.node.name!r}",
                        node,
                    )


def constant(graph: ir.Graph, array: Array, hint: str) -> ir.Value:
    """A new initializer with a fresh name made from `hint`."""
    name = fresh_name(graph, hint)
    array = np.asarray(array, order="C")  # ascontiguousarray would give a scalar an axis
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
    graph.register_initializer(value)
    return value


def fresh_name(graph: ir.Graph, hint: str) -> str:
    """`hint`, with a number if a value of the graph has that name already."""
    return name_beside(taken_names(graph), hint)


def new_node(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    domain: str = "",
    like: ir.Value | None = None,
    sizes: Sequence[Any] | None = None,
) -> ir.Node:
    """A node with one output; its type and shape as `like`, its shape `sizes` if given."""
    node = ir.node(op_type, inputs=inputs, attributes=dict(attributes or {}), domain=domain)
    out = node.outputs[0]
    if like is not None:
        out.type = like.type
        out.shape = like.shape if sizes is None else ir.Shape(sizes)
    return node


def replace(
    graph: ir.Graph, old_root: ir.Node, old_nodes: Sequence[ir.Node], new_nodes: Sequence[ir.Node]
) -> None:
    """Put `new_nodes` in the place of `old_root`; their last output takes over its name and users.

    `old_nodes` are those whose work the new ones do: they give the provenance, and those left
    without users are removed later with the dead code.
    """
    old, new = old_root.outputs[0], new_nodes[-1].outputs[0]
    copy_metadata(sorted_by_graph(graph, [*old_nodes, old_root]), new_nodes)
    new_nodes[-1].name = old_root.name
    for index, node in enumerate(new_nodes[:-1]):
        node.name = f"{old_root.name}/{index}"
        node.outputs[0].name = fresh_name(graph, f"{old.name}_part{index}")
    new.shape = old.shape if new.shape is None else new.shape
    new.type = old.type if new.type is None else new.type
    name = old.name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    old.name, new.name = f"{name}_replaced", name
    graph.insert_before(old_root, new_nodes)
    graph.remove(old_root, safe=True)
    if any(node.domain == "attnc" for node in new_nodes):
        graph.opset_imports.setdefault("attnc", 1)


def insert_before(
    graph: ir.Graph,
    places: Iterable[ir.Node],
    new_nodes: Sequence[ir.Node],
    old_nodes: Sequence[ir.Node],
) -> None:
    """Put `new_nodes` before the first of `places`; their provenance is that of `old_nodes`."""
    if not new_nodes:
        return
    first = sorted_by_graph(graph, places)[0]
    copy_metadata(sorted_by_graph(graph, old_nodes), new_nodes)
    for index, node in enumerate(new_nodes):
        node.name = f"{first.name}/before{index}"
        node.outputs[0].name = fresh_name(graph, f"{first.outputs[0].name}_before{index}")
        graph.insert_before(first, [node])


def sorted_by_graph(graph: ir.Graph, nodes: Iterable[ir.Node]) -> list[ir.Node]:
    """Without repetition, in the order of the graph."""
    wanted = set(nodes)
    return [node for node in graph if node in wanted] if len(wanted) > 1 else list(wanted)


def remove_dead(graph: ir.Graph) -> int:
    """Remove nodes that nobody reads, and constants that nobody reads; count of both."""
    removed = 0
    for node in reversed(graph):
        if not any(v.uses() or v.is_graph_output() for v in node.outputs):
            graph.remove(node, safe=True)
            removed += 1
    inputs = set(graph.inputs)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and value not in inputs:
            del graph.initializers[name]
            removed += 1
    return removed
