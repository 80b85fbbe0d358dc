"""Brings the model to the opset of the operators' bodies, which runtimes want to be the same.

    ReduceMean(x) axes=[2,3]  (opset 17)        =>        ReduceMean(x, [2,3])  (opset 20)

Up by writing attributes as inputs, down where the operators that are left did not change.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.base import BODY_OPSET
from attnc.compiler.pipeline import NearMiss, PassResult
from attnc.passes.graph import STANDARD, Refuse, attribute, constant, input_at, is_op, opset

OLDEST = 13
#: Same name, same signature, another meaning on the two sides of an opset.
CHANGED = {"GroupNormalization", "GridSample", "DFT"}


class SettleOpset:
    """Sets the opset of the main graph to the one of the bodies, if every node allows it."""

    name = "settle_opset"
    reason = "the model and the bodies of the fused operators must speak one opset"

    def run(self, model: ir.Model) -> PassResult:
        """One match if the opset changed; refusals name the nodes that stand in the way."""
        graph = model.graph
        version = opset(graph)
        if version == BODY_OPSET:
            return PassResult(0)
        misses, changes = [], []
        for node in graph.all_nodes():
            try:
                changes.append((node, _wanted(node, version)))
            except Refuse as refusal:
                misses.append(NearMiss.at(node, refusal.reason))
        if misses:
            return PassResult(0, tuple(misses))
        for node, moved in changes:
            _move_to_input(node, moved, graph)
            if is_op(node, "Split") and input_at(node, 1) is None:
                node.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(node.outputs))
        graph.opset_imports[""] = BODY_OPSET
        return PassResult(1)


def _wanted(node: ir.Node, version: int) -> str:
    """Name of the attribute that becomes input 1, or ""; refuses where the node cannot move."""
    if node.domain not in STANDARD:
        return ""
    if version < OLDEST:
        raise Refuse(f"opset {version} is older than {OLDEST}")
    old, new = _schema(node.op_type, version), _schema(node.op_type, BODY_OPSET)
    if new is None:
        raise Refuse(f"it does not exist in opset {BODY_OPSET}")
    if old is None or old.since_version == new.since_version:
        return ""
    if node.op_type in CHANGED:
        raise Refuse(f"it means something else in opset {BODY_OPSET} than in {version}")
    if is_op(node, "AveragePool") and attribute(node, "ceil_mode", 0):
        raise Refuse("its ceil_mode changed with opset 19")
    extra = [name for name in node.attributes if name not in new.attributes]
    if extra == ["axes"] and len(node.inputs) == 1 and new.max_input >= 2:
        return "axes"
    if extra or len(node.inputs) > new.max_input:
        raise Refuse(f"{extra or 'its inputs'} do not exist in opset {BODY_OPSET}")
    return ""


def _move_to_input(node: ir.Node, name: str, graph: ir.Graph) -> None:
    if not name:
        return
    values = constant(graph, np.array(attribute(node, name), np.int64), "axes")
    node.attributes.pop(name)
    node.resize_inputs(2)
    node.replace_input_with(1, values)


@cache
def _schema(op_type: str, version: int) -> Any:
    import onnx

    try:
        return onnx.defs.get_schema(op_type, version, "")
    except onnx.defs.SchemaError:
        return None
