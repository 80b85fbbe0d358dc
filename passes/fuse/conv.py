"""Every convolution takes up its activation and its residual.

x -> Conv -> Add(r) -> ReLU        =>        FusedConvAdd(x, w, b, r)  min=0
x -> Conv -> Clip(0, 6)            =>        FusedConv(x, w, b)  min=0 max=6
x -> Conv                          =>        FusedConv(x, w, b)
x -> Conv -> Gelu                  =>        FusedConvGelu(x, w, b)
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.passes.activations import NONE, clamp_of
from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.conv import Conv, conv_of
from attnc.passes.graph import Refuse, attribute, is_op, new_node, replace, sole_user


class FuseConvAdd(AnchorPass):
    """Conv, then the add of a value of the same shape, then perhaps an activation."""

    name = "fuse_conv_add"
    reason = "the residual is added while the result of the convolution is still in registers"
    anchors = frozenset({"Conv"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces Conv, Add and activation."""
        conv = conv_of(node)
        add = sole_user(node.outputs[0])
        if conv is None or add is None or not is_op(add, "Add"):
            return _say_shared(conv, "Add")
        if not conv.single:
            return False  # the pass after this one says so
        residual = add.inputs[1] if add.inputs[0] is conv.out else add.inputs[0]
        if residual is None or residual is conv.out or residual.shape is None:
            return False
        if residual.shape != conv.out.shape:
            raise Refuse(f"the add broadcasts {residual.name!r}", add)
        if _depends(residual, node):
            return False
        _fuse(conv, [add], "FusedConvAdd", [residual], graph)
        return True


#: Up to so many channels a dense convolution is as much a pass over memory as GELU is.
FEW_CHANNELS = 4


class FuseConvGelu(AnchorPass):
    """A depthwise or pointwise Conv, or one of few channels, with the GELU behind it.

    Dense windows on wide maps stay alone: targets have faster forms for them than for both.
    """

    name = "fuse_conv_gelu"
    reason = "one pass over the map instead of two"
    anchors = frozenset({"Conv"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces Conv and Gelu."""
        conv, after = conv_of(node), sole_user(node.outputs[0])
        if conv is None or after is None or not conv.single or not is_op(after, "Gelu"):
            return False
        if not (conv.depthwise or _is_light(conv)):
            return False
        if attribute(after, "approximate", "none") != "none":
            raise Refuse("the GELU is approximated", after)
        inputs = [conv.x, conv.w, conv.b]
        new = new_node(
            "FusedConvGelu", inputs, conv.geometry(), domain="attnc", like=after.outputs[0]
        )
        replace(graph, after, [node], [new])
        return True


def _is_light(conv: Conv) -> bool:
    """One group, and a window of one pixel or few channels."""
    sizes = conv.weight().shape
    if attribute(conv.node, "group") != 1:
        return False
    return sizes[2:] == (1, 1) or sizes[1] <= FEW_CHANNELS


class FuseConv(AnchorPass):
    """Every Conv that is left, with its activation if it has one."""

    name = "fuse_conv"
    reason = "an activation of its own is a pass over memory"
    anchors = frozenset({"Conv"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces Conv and activation."""
        conv = conv_of(node)
        if conv is None:
            raise Refuse("its weights are not constants, or it is not two-dimensional")
        if not conv.single:
            raise Refuse(f"it computes in {conv.w.dtype}, not in float32")
        _fuse(conv, [], "FusedConv", [], graph)
        return True


def _fuse(
    conv: Conv, between: list[ir.Node], op_type: str, extra: list[ir.Value], graph: ir.Graph
) -> None:
    root = between[-1] if between else conv.node
    after = sole_user(root.outputs[0])
    clamp = clamp_of(after)
    if after is not None and clamp is not None:
        between, root = [*between, after], after
    attributes = {**conv.geometry(), **(clamp or NONE).attributes()}
    inputs = [conv.x, conv.w, conv.b, *extra]
    new = new_node(op_type, inputs, attributes, domain="attnc", like=root.outputs[0])
    replace(graph, root, [conv.node, *between], [new])


def _say_shared(conv: Conv | None, wanted: str) -> bool:
    """Refuse if the result goes into the wanted operator and elsewhere as well."""
    if conv is None:
        return False
    users = [use.node for use in conv.out.uses()]
    if len(users) > 1 and any(is_op(user, wanted) for user in users):
        raise Refuse(f"its result has a second consumer besides the {wanted}")
    return False


def _depends(value: ir.Value, node: ir.Node) -> bool:
    """Whether `value` is computed from what `node` computes: fusing them would make a cycle."""
    seen: set[ir.Node] = set()
    stack = [value.producer()]
    while stack:
        current = stack.pop()
        if current is None or current in seen:
            continue
        if current is node:
            return True
        seen.add(current)
        stack.extend(v.producer() for v in current.inputs if v is not None)
    return False
