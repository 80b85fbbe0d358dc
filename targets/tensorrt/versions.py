"""The opset that a graph says it is of, where all of its operators mean the same in both.

Conv, Relu of opset 20   =>   of opset 23         GridSample(bilinear) of opset 16   stays an error
"""

from __future__ import annotations

from functools import cache
from typing import Any

import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.provenance import describe
from attnc.passes.graph import STANDARD, attribute, is_op, opset

#: From this opset on the operator means something else, with the same signature.
CHANGED = {"AveragePool": 19, "DFT": 20, "GridSample": 20, "GroupNormalization": 21}


def settle_version(graph: ir.Graph, wanted: int, highest: int) -> None:
    """Set the graph's opset, or leave one that is higher and read as well (up to `highest`).

    Raises UnsupportedError at a node that the change would turn into another.
    """
    version = opset(graph)
    for node in graph.all_nodes() if version != wanted else ():
        reason = _other(node, version, wanted)
        if reason and wanted < version <= highest:
            return
        if reason:
            raise UnsupportedError(
                f"{node.op_type} {reason}",
                where=describe(node),
                remedy="export the model at opset 20, or for a profile that reads its opset",
            )
    graph.opset_imports[""] = wanted


def _other(node: ir.Node, version: int, wanted: int) -> str:
    """What is different about the node there; empty if nothing is."""
    if node.domain not in STANDARD:
        return ""
    old, new = _schema(node.op_type, version), _schema(node.op_type, wanted)
    if new is None:
        return f"does not exist in opset {wanted}, which the runtime reads"
    if old is None or old.since_version == new.since_version:
        return ""
    if _changes(node, version, wanted):
        return f"means something else in opset {wanted}, which the runtime reads, than in {version}"
    extra = [name for name in node.attributes if name not in new.attributes]
    if extra or len(node.inputs) > new.max_input:
        named = ", ".join(extra) or f"{len(node.inputs)} inputs"
        return f"of opset {wanted}, which the runtime reads, has no {named}"
    return ""


def _changes(node: ir.Node, version: int, wanted: int) -> bool:
    first = CHANGED.get(node.op_type)
    if first is None or (is_op(node, "AveragePool") and not attribute(node, "ceil_mode", 0)):
        return False
    return (version < first) != (wanted < first)


@cache
def _schema(op_type: str, version: int) -> Any:
    from onnx import defs

    try:
        return defs.get_schema(op_type, version, "")
    except defs.SchemaError:
        return None
