"""Every value has a type before any of them is changed: an unknown one might be float32.

If (branches give float32[4]) -> ?      =>      If -> float32[4]
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.provenance import describe
from attnc.passes.clean.infer import InferShapes
from attnc.passes.graph import is_op
from attnc.passes.precision.kinds import is_list_operator

#: Outputs of a body that are none of the node's: a Loop's condition.
_OWN = {"If": 0, "Scan": 0, "Loop": 1}


def require_types(model: ir.Model) -> None:
    """Infer what is missing. Raises UnsupportedError where a type stays unknown."""
    if not any(_unknown(node) for node in model.graph):
        return
    InferShapes().run(model)
    for node in model.graph:
        if is_op(node, *_OWN):
            _take_from_body(node)
        for value in _unknown(node):
            raise UnsupportedError(
                f"the type of the value {value.name!r} is unknown",
                where=describe(node),
                remedy="set the types of what fused and foreign operators give",
            )


def _unknown(node: ir.Node) -> list[ir.Value]:
    if is_list_operator(node):  # inference leaves these without a type
        return []
    seen = [value for value in node.outputs if value.uses() or value.is_graph_output()]
    return [value for value in seen if value.type is None]


def _take_from_body(node: ir.Node) -> None:
    bodies = [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]
    for value, inner in zip(node.outputs, bodies[0].outputs[_OWN[node.op_type] :], strict=False):
        if value.type is None:
            value.type = inner.type
