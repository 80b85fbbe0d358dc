"""A constant factor per channel behind a convolution goes into its weights: layer scale.

Conv(w, b) -> Mul(s)        =>        Conv(s w, s b)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.batch_norm import new_conv
from attnc.passes.canonical.conv import conv_of
from attnc.passes.graph import const, is_op, replace, sole_user


class FoldConvScale(AnchorPass):
    """Multiplication by one number or by one per output channel."""

    name = "fold_conv_scale"
    reason = "a factor on the result is a factor on the weights, and then costs nothing"
    anchors = frozenset({"Conv"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the convolution and the product."""
        conv, user = conv_of(node), sole_user(node.outputs[0])
        if conv is None or user is None or not is_op(user, "Mul"):
            return False
        array = const(user.inputs[1] if user.inputs[0] is conv.out else user.inputs[0])
        if array is None or array.ndim > 4:
            return False
        wide = array.reshape((1,) * (4 - array.ndim) + array.shape)
        channels = conv.weight().shape[0]
        if wide.shape not in ((1, 1, 1, 1), (1, channels, 1, 1)):
            return False
        scale = np.broadcast_to(wide.reshape(-1), (channels,)).astype(np.float64)
        weight = conv.weight() * scale[:, None, None, None]
        new = new_conv(conv, conv.x, weight, conv.bias() * scale, graph)
        replace(graph, user, [node], [new])
        return True
