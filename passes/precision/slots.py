"""Which inputs and outputs of a node may take the low type, as the operator's schema says.

Conv: all of them. Resize: its map, while `scales` stays float32. Shape, Cast: any type will do.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import onnx_ir as ir

from attnc.passes.graph import is_op, opset
from attnc.passes.precision.kinds import is_list_operator, is_plugin, is_standard
from attnc.passes.precision.low import FLOAT, Low, is_float

#: Inputs that any type suits.
_ANY = {"Cast": 0, "CastLike": 0, "Shape": 0, "Size": 0}
#: Outputs whose type an attribute gives (`stash_type`: float32).
_STASHED = ("LayerNormalization",)
_TYPE_IN_ATTRIBUTE = (
    "Constant",
    "EyeLike",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)


class Slots:
    """The types of a node's places, if the node is to compute in `low`."""

    def __init__(self, graph: ir.Graph, low: Low) -> None:
        self._opset, self.low = opset(graph), low

    def input(self, node: ir.Node, index: int) -> ir.DataType | None:
        """The type that a float32 input takes; None where any will do."""
        if is_plugin(node):
            return self.low.dtype
        if is_op(node, *_ANY) and index == _ANY[node.op_type]:
            return None
        return self._type(self._schema(node), "inputs", index)

    def output(self, node: ir.Node, index: int) -> ir.DataType:
        """The type that a float32 output takes."""
        if is_plugin(node):
            return self.low.dtype
        if is_op(node, *_STASHED) and index > 0:
            return FLOAT
        return self._type(self._schema(node), "outputs", index)

    def refusal(self, node: ir.Node) -> str | None:
        """Why the node cannot compute in the low type; None if it can."""
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in _own(node)):
            return "control flow keeps its types"
        if is_plugin(node):
            return None
        if self._schema(node) is None:
            return f"nobody knows the types of {node.domain or 'ai.onnx'}::{node.op_type}"
        if is_list_operator(node):
            return "sequences keep their type"
        if is_op(node, *_TYPE_IN_ATTRIBUTE) and is_float(node.outputs[0]):
            return "an attribute sets its type"
        lacks = f"{node.op_type} of opset {self._opset} has no {self.low.name}"
        return lacks if self._main(node) == FLOAT else None

    def _main(self, node: ir.Node) -> ir.DataType | None:
        """The type of the first output that is float32, or else of the first such input."""
        for index, value in enumerate(node.outputs):
            if is_float(value):
                return self.output(node, index)
        for index, given in enumerate(node.inputs):
            if is_float(given):
                return self.input(node, index)
        return None

    def _type(self, schema: Any, kind: str, index: int) -> ir.DataType:
        places = getattr(schema, kind, None)
        if not places:  # an operator that nobody knows
            return FLOAT
        place = places[min(index, len(places) - 1)]  # the last one may be variadic
        allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
        types = allowed.get(place.type_str, [place.type_str])
        return self.low.dtype if f"tensor({self.low.name})" in types else FLOAT

    def _schema(self, node: ir.Node) -> Any:
        return _schema(node.op_type, self._opset) if is_standard(node) else None


def _own(node: ir.Node) -> list[ir.Attr]:
    return list(node.attributes.values())


@cache
def _schema(op_type: str, version: int) -> Any:
    from onnx import defs

    try:
        return defs.get_schema(op_type, version)
    except defs.SchemaError:
        return None
