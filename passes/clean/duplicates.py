r"""Computes and stores equal things once.

x -> Relu -> a                x -> Relu -> a
  -> Relu -> b        =>              \--> b
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from attnc.compiler.pipeline import PassResult


class MergeDuplicates:
    """Equal initializers, and equal nodes on equal inputs."""

    name = "merge_duplicates"
    reason = "exporters repeat shape arithmetic and small constants"

    def run(self, model: ir.Model) -> PassResult:
        """Counts the initializers and nodes that went away."""
        before = len(model.graph) + len(model.graph.initializers)
        common.DeduplicateInitializersPass()(model)
        common.CommonSubexpressionEliminationPass()(model)
        return PassResult(before - len(model.graph) - len(model.graph.initializers))
