"""Clips that clamp nothing go; those that clamp at zero only become Relu.

x -> Clip(lowest, highest) -> y   =>   x = y        x -> Clip(0, highest)   =>   x -> Relu
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import Refuse, input_at, new_node, replace, scalar


class SimplifyClips(AnchorPass):
    """Every Clip whose bounds are constants; Conv, Gemm and MatMul fuse with Relu as with Clip."""

    name = "simplify_clips"
    reason = "a pass over memory that changes nothing, or a bound that is never reached"
    anchors = frozenset({"Clip"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Identity (which is removed later) or Relu in its place."""
        low = _bound(node, 1, NO_MIN)
        high = _bound(node, 2, NO_MAX)
        if high < NO_MAX or (low != 0 and low > NO_MIN):
            return False
        kind = "Relu" if low == 0 else "Identity"
        made = new_node(kind, [node.inputs[0]], like=node.outputs[0])
        replace(graph, node, [node], [made])
        return True


def _bound(node: ir.Node, place: int, default: float) -> float:
    value = input_at(node, place)
    if value is None:
        return default
    found = scalar(value)
    if found is None:
        raise Refuse("a bound is not a constant", node)
    return found
