"""A linear layer takes up the GELU behind it.

x -> Linear -> Gelu        =>        LinearGelu(x, w, b)
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.fuse.token_linear import token_linear
from attnc.passes.graph import Refuse, attribute, is_op, new_node, replace, sole_user


class FuseLinearGelu(AnchorPass):
    """The exact GELU only: the tanh form is another function."""

    name = "fuse_linear_gelu"
    reason = "the hidden layer is the largest tensor of a block; GELU alone is a pass over it"
    anchors = frozenset({"attnc::Linear"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the layer and the activation."""
        linear = token_linear(node)
        if linear is None or not linear.plain:
            return False
        user = sole_user(linear.out)
        if user is None or not is_op(user, "Gelu"):
            if any(is_op(use.node, "Gelu") for use in linear.out.uses()):
                raise Refuse("its result has a second consumer besides the Gelu")
            return False
        if attribute(user, "approximate", "none") not in ("none", b"none"):
            raise Refuse("the Gelu is the approximation by tanh", user)
        inputs = [linear.x, linear.w, linear.b]
        new = new_node("LinearGelu", inputs, domain="attnc", like=user.outputs[0])
        replace(graph, user, [node], [new])
        return True
