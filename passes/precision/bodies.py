"""Function bodies that take any float type, so that a converted graph runs without kernels.

Linear(x, w, b) { ... of float32 ... }   =>   { Cast x, w, b to float32; ...; CastLike(y, x) }
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.registry import attach_functions
from attnc.passes.precision.low import FLOAT, HALVES

_FLOATS = (FLOAT, *HALVES)


def attach_any_float_bodies(model: ir.Model) -> list[str]:
    """As `attach_functions`: the bodies compute in float32 and round their results once."""
    names = attach_functions(model)
    for function in model.functions.values():
        nodes = [
            node
            for node in model.graph.all_nodes()
            if node.domain == DOMAIN and node.op_type == function.name
        ]
        if function.domain == DOMAIN and nodes:
            _widen(function, nodes)
    return names


def _widen(function: ir.Function, nodes: list[ir.Node]) -> None:
    taken = sorted(_float_places(node.inputs for node in nodes))
    given = sorted(_float_places(node.outputs for node in nodes))
    for index in taken:
        value = function.inputs[index]
        uses = tuple(value.uses())
        cast = ir.node("Cast", [value], {"to": FLOAT})
        cast.outputs[0].name = f"{value.name}_float"
        for use in uses:
            use.node.replace_input_with(use.idx, cast.outputs[0])
        function.insert_before(function[0], cast)
    for index in given:
        value = function.outputs[index]
        cast = ir.node("CastLike", [value, function.inputs[taken[0]]])
        cast.outputs[0].name, value.name = value.name, f"{value.name}_float"
        function.append(cast)
        function.outputs[index] = cast.outputs[0]


def _float_places(calls: Iterable[Iterable[ir.Value | None]]) -> set[int]:
    return {
        index
        for values in calls
        for index, value in enumerate(values)
        if value is not None and value.dtype in _FLOATS
    }
