"""Put the standard operators of a fused operator's body in its place.

x -> FeedForward -> y    becomes    x -> Conv -> Clip -> Conv -> Add -> y
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from attnc.compiler.names import name_beside, taken_names
from attnc.compiler.ops.registry import get
from attnc.compiler.provenance import copy_metadata


def inline_body(node: ir.Node) -> None:
    """Replace a node of the domain `attnc` by its body; names and metadata come from the node."""
    splice(node, get(node.op_type).function(), node.inputs)


def splice(node: ir.Node, function: ir.Function, inputs: Sequence[ir.Value | None]) -> None:
    """Replace a node by the nodes of a function that reads `inputs`; missing ones are left out.

    Values inside are named after the node's first output, with a number where that is taken.
    """
    graph = node.graph
    assert graph is not None
    taken = taken_names(graph)
    values: dict[ir.Value | None, ir.Value | None] = {None: None}
    values.update(zip(function.inputs, inputs, strict=False))
    for index, inner in enumerate(function):
        copy = ir.Node(
            inner.domain,
            inner.op_type,
            [values.get(value) for value in inner.inputs],
            attributes=[_resolved(attribute, node) for attribute in inner.attributes.values()],
            num_outputs=len(inner.outputs),
            name=f"{node.name}/{index}",
        )
        for old, new in zip(inner.outputs, copy.outputs, strict=True):
            new.name = name_beside(taken, f"{node.outputs[0].name}/{old.name}")
            taken.add(new.name)
            values[old] = new
        copy_metadata([node], [copy])
        graph.insert_before(node, copy)
    for old, inner_output in zip(node.outputs, function.outputs, strict=True):
        result = values[inner_output]
        assert result is not None
        name = old.name
        ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
        old.name, result.name = f"{name}/replaced", name
        result.shape, result.type = old.shape, old.type
    graph.remove(node, safe=True)


def _resolved(attribute: ir.Attr, node: ir.Node) -> ir.Attr:
    """The attribute with the node's value, where the body refers to one."""
    if not attribute.is_ref():
        return attribute
    assert attribute.ref_attr_name is not None
    given = node.attributes[attribute.ref_attr_name]
    return ir.Attr(attribute.name, given.type, given.value)
