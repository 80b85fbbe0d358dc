"""Moves a BatchNormalization behind the mean over positions, where it meets the head.

BN(x, s, t) -> GlobalAveragePool -> Flatten -> Gemm(w, b)
=>  GlobalAveragePool(x) -> Flatten -> Gemm(w s, b + w t)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.batch_norm import new_linear, scale_and_shift
from attnc.passes.canonical.linear import linear_of
from attnc.passes.graph import Refuse, is_op, new_node, replace, sole_user


class FoldPooledBatchNorm(AnchorPass):
    """The mean of a scaled and shifted map is the scaled and shifted mean."""

    name = "fold_pooled_batch_norm"
    reason = "a normalisation with fixed statistics in front of the head is part of its weights"
    anchors = frozenset({"GlobalAveragePool"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces pooling and head; the normalisation stays for its other readers, if any."""
        data = node.inputs[0]
        norm = data.producer() if data is not None else None
        if norm is None or not is_op(norm, "BatchNormalization"):
            return False
        flatten = sole_user(node.outputs[0])
        head = sole_user(flatten.outputs[0]) if flatten is not None else None
        linear = linear_of(head)
        if flatten is None or head is None or linear is None or not is_op(flatten, "Flatten"):
            raise Refuse("the mean of the normalised map does not flow into one linear layer")
        scale, shift = scale_and_shift(norm)
        x = norm.inputs[0]
        weight = linear.weight().astype(np.float64)
        pool = new_node("GlobalAveragePool", [x], like=node.outputs[0])
        flat = new_node("Flatten", pool.outputs, {"axis": 1}, like=flatten.outputs[0])
        new = new_linear(
            linear, flat.outputs[0], weight * scale, linear.bias() + weight @ shift, graph
        )
        replace(graph, head, [norm, node, flatten], [pool, flat, new])
        return True
