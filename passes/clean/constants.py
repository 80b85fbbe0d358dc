"""Brings all constants to one place, so that other passes ask only one question of a value.

Constant -> Add                    (initializer) -> Add
local function f(x)        =>      the nodes of f
initializer that is also a graph input: no longer an input (nobody feeds weights)
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from attnc.compiler.pipeline import PassResult
from attnc.passes.graph import is_op


class ConstantsToInitializers:
    """Constant nodes, overridable initializers and local functions of a user's model."""

    name = "constants_to_initializers"
    reason = "later passes look for constants among the initializers only"

    def run(self, model: ir.Model) -> PassResult:
        """Counts Constant nodes, freed inputs and inlined functions."""
        graph = model.graph
        foreign = [f for f in model.functions.values() if f.domain != "attnc"]
        if foreign:
            common.InlinePass(lambda function: function.domain != "attnc")(model)
        shadowed = [value for value in graph.inputs if value.const_value is not None]
        common.RemoveInitializersFromInputsPass()(model)
        constants = sum(is_op(node, "Constant") for node in graph)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        left = sum(is_op(node, "Constant") for node in graph)
        return PassResult(len(foreign) + len(shadowed) + constants - left)
