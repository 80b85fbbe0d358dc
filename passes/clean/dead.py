"""Removes what nothing reads.

x -> Relu -> y            x -> Relu -> y
  -> Exp                =>
(initializer)
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.compiler.pipeline import PassResult
from attnc.passes.graph import remove_dead


class DeadCode:
    """Nodes, initializers and local functions without a reader."""

    name = "dead_code"
    reason = "what nobody reads costs time and space"

    def run(self, model: ir.Model) -> PassResult:
        """Counts what was removed."""
        removed = remove_dead(model.graph)
        called = {node.op_identifier() for node in model.graph}
        called |= {n.op_identifier() for f in model.functions.values() for n in f}
        for identifier in [i for i in model.functions if i not in called]:
            del model.functions[identifier]
            removed += 1
        return PassResult(removed)
