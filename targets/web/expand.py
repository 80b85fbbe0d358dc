"""Puts operators written as text in the place of a fused one: a form made for onnxruntime-web.

attnc::X (a, b)    becomes    what the text says, with the names of X's inputs and outputs

Unlike the operator's body, a form may use constants that are computed from sizes known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import onnx.parser
import onnx_ir as ir

from attnc.compiler.ops.base import BODY_OPSET, NO_MAX, NO_MIN
from attnc.compiler.ops.inline import splice
from attnc.compiler.ops.registry import get
from attnc.passes.graph import Array, attribute, constant


def expand(node: ir.Node, graph: ir.Graph, text: str, constants: Mapping[str, Array]) -> None:
    """Replace a node of the domain `attnc`; the text may name its inputs and the constants.

    A constant of an input's name takes that input's place.
    """
    operator = get(node.op_type)
    names = [name for name in operator.inputs if name not in constants]
    given = dict(zip(operator.inputs, node.inputs, strict=True))
    values: list[ir.Value | None] = [given[name] for name in names]
    values += [constant(graph, array, f"{node.name}.{name}") for name, array in constants.items()]
    function = ir.serde.deserialize_function(_parsed((*names, *constants), operator.outputs, text))
    splice(node, function, values)


@cache
def _parsed(inputs: tuple[str, ...], outputs: tuple[str, ...], text: str) -> Any:
    head = f'<domain: "attnc.web", opset_import: ["" : {BODY_OPSET}]>'
    return onnx.parser.parse_function(
        f"{head}\nForm ({', '.join(inputs)}) => ({', '.join(outputs)})\n{{\n{text}\n}}"
    )


def clamp(out: str, x: str, node: ir.Node) -> str:
    """Text of the clamp that the node's attributes `min` and `max` ask for."""
    low, high = attribute(node, "min"), attribute(node, "max")
    if low <= NO_MIN and high >= NO_MAX:
        return f"  {out} = Identity ({x})\n"
    if low == 0 and high >= NO_MAX:
        return f"  {out} = Relu ({x})\n"
    return (
        f"  {out}_min = Constant <value_float = {low!r}> ()\n"
        f"  {out}_max = Constant <value_float = {high!r}> ()\n"
        f"  {out} = Clip ({x}, {out}_min, {out}_max)\n"
    )
