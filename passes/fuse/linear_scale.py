"""A constant factor behind a linear layer goes into its weights: layer scale, halved residuals.

x -> Linear(w, b) -> Mul(s)        =>        Linear(x, s w, s b)
x -> Linear(w, b) -> Div(2)        =>        Linear(x, w / 2, b / 2)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.fuse.token_linear import row_of, token_linear
from attnc.passes.graph import Array, const, constant, is_op, new_node, replace, shape, sole_user


class FoldLinearScale(AnchorPass):
    """Multiplication or division by one number or by one per channel."""

    name = "fold_linear_scale"
    reason = "a factor on the result is a factor on the weights, and then costs nothing"
    anchors = frozenset({"attnc::Linear"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the layer and the product."""
        linear = token_linear(node)
        user = sole_user(node.outputs[0])
        if linear is None or not linear.plain or user is None or not is_op(user, "Mul", "Div"):
            return False
        other = user.inputs[1] if user.inputs[0] is linear.out else user.inputs[0]
        array = const(other)
        row = row_of(array, linear.bias().size)
        if array is None or row is None or array.ndim > len(shape(linear.out) or []):
            return False
        if is_op(user, "Div"):
            if user.inputs[0] is not linear.out or (row == 0).any():
                return False
            row = 1.0 / row.astype(np.float64)
        w, b = _scaled(linear.weight(), linear.bias(), row)
        inputs = [linear.x, constant(graph, w, "scaled_rows"), constant(graph, b, "scaled_bias")]
        new = new_node(
            "Linear", inputs, linear.clamp.attributes(), domain="attnc", like=user.outputs[0]
        )
        replace(graph, user, [node], [new])
        return True


def _scaled(w: Array, b: Array, row: Array) -> tuple[Array, Array]:
    row = row.astype(np.float64)
    return (w * row[:, None]).astype(np.float32), (b * row).astype(np.float32)
