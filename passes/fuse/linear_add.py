"""A linear layer takes up the residual add behind it.

x -> Linear -> Add(r) -> ReLU        =>        LinearAdd(x, w, b, r)  min=0
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.passes.activations import NONE, clamp_of
from attnc.passes.anchor import AnchorPass
from attnc.passes.fuse.token_linear import token_linear
from attnc.passes.graph import Refuse, const, is_op, new_node, replace, sole_user


class FuseLinearAdd(AnchorPass):
    """The add of a value of the same shape, then perhaps a clamp."""

    name = "fuse_linear_add"
    reason = "the residual is added while the result of the product is still in registers"
    anchors = frozenset({"attnc::Linear"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the layer, the add and the clamp."""
        linear = token_linear(node)
        if linear is None or not linear.plain:
            return False
        add = sole_user(linear.out)
        if add is None or not is_op(add, "Add"):
            if any(is_op(use.node, "Add") for use in linear.out.uses()):
                raise Refuse("its result has a second consumer besides the Add")
            return False
        residual = add.inputs[1] if add.inputs[0] is linear.out else add.inputs[0]
        if residual is None or residual is linear.out or const(residual) is not None:
            return False
        if residual.shape is None or residual.shape != linear.out.shape:
            raise Refuse(f"the add broadcasts {residual.name!r}", add)
        after = sole_user(add.outputs[0])
        clamp = clamp_of(after)
        root, between = (add, [node]) if clamp is None or after is None else (after, [node, add])
        inputs = [linear.x, linear.w, linear.b, residual]
        attributes = (clamp or NONE).attributes()
        new = new_node("LinearAdd", inputs, attributes, domain="attnc", like=root.outputs[0])
        replace(graph, root, between, [new])
        return True
