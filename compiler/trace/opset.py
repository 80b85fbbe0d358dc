"""Brings a graph of any supported opset to ours, up or down, in place.

Most operators changed only in the types that they admit between two opsets; ONNX's own schemas tell
which. The few that changed in form have an adapter here; anything else is refused, naming the node.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.provenance import describe

from .decompose import decompose_attention, decompose_group_norm

Adapter = Callable[[ir.Graph, ir.Node], None]


def _schema(op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    return onnx.defs.get_schema(op_type, opset, "") if onnx.defs.has(op_type, opset, "") else None


def _refuse(node: ir.Node, opset: int, target: int, reason: str) -> UnsupportedError:
    return UnsupportedError(
        f"{node.op_type} of opset {opset} has no equivalent in opset {target}: {reason}",
        where=describe(node),
        remedy=f"export again with opset_version={target}",
    )


def _axes_to_input(graph: ir.Graph, node: ir.Node) -> None:
    axes = node.attributes.pop("axes", None)
    if axes is None or len(node.inputs) > 1:
        return
    name = f"{node.outputs[0].name}_axes"
    value = ir.Value(
        name=name, const_value=ir.tensor(np.array(axes.as_ints(), np.int64), name=name)
    )
    graph.register_initializer(value)
    node.resize_inputs(2)
    node.replace_input_with(1, value)


def _count_split_outputs(graph: ir.Graph, node: ir.Node) -> None:
    if len(node.inputs) < 2 or node.inputs[1] is None:
        node.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(node.outputs))


_REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSumSquare"
)
# (operator, first opset of the new form): applied when that opset lies between the two.
_UP: dict[tuple[str, int], Adapter] = {
    **{(name, 18): _axes_to_input for name in _REDUCTIONS.split()},
    ("Split", 18): _count_split_outputs,
}
_DOWN: dict[tuple[str, int], Adapter] = {
    ("GroupNormalization", 21): decompose_group_norm,
    ("Attention", 23): decompose_attention,
}


def _adapter(node: ir.Node, opset: int, target: int) -> Adapter | None:
    table, low, high = (_UP, opset, target) if opset < target else (_DOWN, target, opset)
    for (op_type, since), adapter in table.items():
        if op_type == node.op_type and low < since <= high:
            return adapter
    return None


def _difference(node: ir.Node, old: onnx.defs.OpSchema, new: onnx.defs.OpSchema) -> str:
    """What of this node's use differs between the two schemas; "" if only the types they admit."""
    for name in node.attributes:
        if name not in new.attributes or new.attributes[name].type != old.attributes[name].type:
            return f"the attribute {name} differs"
    for name, attribute in old.attributes.items():
        other = new.attributes.get(name)
        defaults_differ = other is not None and other.default_value != attribute.default_value
        if name not in node.attributes and defaults_differ:
            return f"the default of {name} differs"
    used = len(node.inputs)
    names = [parameter.name for parameter in old.inputs[:used]]
    if names != [parameter.name for parameter in new.inputs[:used]] or used < new.min_input:
        return "its inputs differ"
    return ""


def _convert_node(graph: ir.Graph, node: ir.Node, opset: int, target: int) -> None:
    adapter = _adapter(node, opset, target)
    if adapter is not None:
        adapter(graph, node)
        return
    old, new = _schema(node.op_type, opset), _schema(node.op_type, target)
    if new is None or old is None:
        raise _refuse(node, opset, target, "it is not there")
    if old.since_version == new.since_version:
        return
    if new.deprecated and not old.deprecated:
        raise _refuse(node, opset, target, "it was withdrawn")
    difference = _difference(node, old, new)
    if difference:
        raise _refuse(node, opset, target, difference)


def convert_opset(model: ir.Model, target: int) -> None:
    """Rewrite the model to opset `target`; UnsupportedError names a node without a form there."""
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", 0))
    if opset != target:
        for node in list(model.graph.all_nodes()):
            owner = node.graph
            assert isinstance(owner, ir.Graph)  # functions were inlined
            _convert_node(owner, node, opset, target)
            node.version = None
    model.opset_imports.clear()
    model.opset_imports[""] = target
