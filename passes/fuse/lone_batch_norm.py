"""A BatchNormalization of a map that no layer could take up becomes a depthwise convolution.

x -> BN(s, t)        =>        x -> Conv(s, t)  1x1, one group per channel
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.batch_norm import scale_and_shift
from attnc.passes.graph import Refuse, constant, new_node, replace, shape


class FuseLoneBatchNorm(AnchorPass):
    """BatchNormalization on [B,C,H,W] with constant statistics."""

    name = "fuse_lone_batch_norm"
    reason = "as a convolution it works on the layout of the layers around it"
    anchors = frozenset({"BatchNormalization"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the node by a Conv, which takes an activation that follows."""
        sizes, x = shape(node.inputs[0]), node.inputs[0]
        if sizes is None or len(sizes) != 4:
            raise Refuse("it does not normalise a two-dimensional map")
        if x is None or x.dtype != ir.DataType.FLOAT:
            raise Refuse("it computes in another type than float32")
        scale, shift = scale_and_shift(node)
        geometry = {
            "kernel_shape": [1, 1],
            "strides": [1, 1],
            "pads": [0, 0, 0, 0],
            "dilations": [1, 1],
            "group": len(scale),
        }
        weight = scale.astype(np.float32).reshape(-1, 1, 1, 1)
        inputs = [
            x,
            constant(graph, weight, f"{node.outputs[0].name}_scale"),
            constant(graph, shift.astype(np.float32), f"{node.outputs[0].name}_shift"),
        ]
        new = new_node("Conv", inputs, geometry, like=node.outputs[0])
        replace(graph, node, [], [new])
        return True
