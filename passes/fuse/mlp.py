"""Fuses a transformer's feed-forward block, LayerNorm and residual included.

x -+-> NormLinearGelu -> LinearAdd        =>        Mlp(x, w1, b1, w2, b2)
   +-------------------------^
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.passes.activations import NONE
from attnc.passes.anchor import AnchorPass
from attnc.passes.fuse.token_linear import token_linear
from attnc.passes.graph import Refuse, attribute, new_node, replace, sole_user


class FuseMlp(AnchorPass):
    """After the layers have taken up what stands around them."""

    name = "fuse_mlp"
    reason = "the hidden layer is four times as large as x and need not leave the cache"
    anchors = frozenset({"attnc::NormLinearGelu"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces both layers."""
        first = token_linear(node, "NormLinearGelu")
        if first is None:
            return False
        user = sole_user(first.out)
        second = token_linear(user, "LinearAdd")
        if second is None or user is None or second.x is not first.out:
            raise Refuse("no linear layer with a residual is the only reader of its result")
        if user.inputs[3] is not first.x:
            raise Refuse("the residual is not the block's input", user)
        if second.clamp != NONE:
            raise Refuse("the block's result is clamped", user)
        inputs = [first.x, first.w, first.b, second.w, second.b]
        attributes = {"epsilon": attribute(node, "epsilon")}
        new = new_node("Mlp", inputs, attributes, domain="attnc", like=second.out)
        replace(graph, user, [node], [new])
        return True
