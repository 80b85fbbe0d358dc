"""Transposes of whole maps become operators whose kernel works on all threads.

x -> Transpose(0, 2, 3, 1) -> y        =>        MapToNhwc(x)
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.compiler.ops.registry import make_node
from attnc.compiler.provenance import copy_metadata
from attnc.targets.cpu.layout import to_first, to_last

#: The order of axes that each operator stands for.
MAP_TURNS = {"MapToNhwc": to_last(4), "MapToNchw": to_first(4)}


def turn_maps(model: ir.Model) -> None:
    """Replace them in place; last of all, since the lowering follows Transposes, not operators."""
    for node in list(model.graph):
        if node.domain == "" and node.op_type == "Transpose":
            _turn(node, model.graph)


def _turn(node: ir.Node, graph: ir.Graph) -> None:
    perm = node.attributes.get("perm")
    value, out = node.inputs[0], node.outputs[0]
    if perm is None or value is None or out.dtype != ir.DataType.FLOAT:
        return
    for name, order in MAP_TURNS.items():
        if tuple(perm.as_ints()) == order:
            turned = make_node(name, [value], {}, name=node.name)
            copy_metadata([node], [turned])
            ir.convenience.replace_nodes_and_values(
                graph, node, [node], [turned], [out], [turned.outputs[0]]
            )
