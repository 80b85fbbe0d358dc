"""Every linear layer on the last axis becomes a Linear, its bias and its clamp inside.

x -> MatMul(w^T) -> Add(b) -> ReLU        =>        Linear(x, w, b)  min=0
x -> Gemm(w, b)                           =>        Linear(x, w, b)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.activations import NONE, clamp_of
from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.linear import linear_of
from attnc.passes.fuse.token_linear import row_of
from attnc.passes.graph import (
    Array,
    Refuse,
    const,
    constant,
    is_op,
    new_node,
    replace,
    shape,
    sole_user,
)


class FuseLinear(AnchorPass):
    """MatMul of any rank with constant weights, with its bias, and canonical Gemm."""

    name = "fuse_linear"
    reason = "nine tenths of a vision transformer; weights [out, in], as kernels are packed from"
    anchors = frozenset({"MatMul", "Gemm"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the product, the add of its bias and the activation."""
        if is_op(node, "Gemm"):
            found = linear_of(node)
            if found is None:
                return False  # canonical_linear has said why
            _fuse(node, [], found.x, found.weight(), found.bias(), graph)
            return True
        weight, sizes = const(node.inputs[1]), shape(node.inputs[0])
        x = node.inputs[0]
        if x is None or weight is None or weight.ndim != 2 or const(x) is not None:
            return False
        if sizes is None or len(sizes) < 2:
            raise Refuse("the rank of its input is unknown, or it is a vector")
        root, bias = _bias(node, weight)
        between = [] if root is node else [node]
        _fuse(root, between, x, np.ascontiguousarray(weight.T), bias, graph)
        return True


def _bias(node: ir.Node, weight: Array) -> tuple[ir.Node, Array]:
    """The add of a constant row behind the product and that row; else the product and zeros."""
    width = weight.shape[1]
    user = sole_user(node.outputs[0])
    if user is not None and is_op(user, "Add"):
        other = user.inputs[1] if user.inputs[0] is node.outputs[0] else user.inputs[0]
        array = const(other)
        row = row_of(array, width)
        rank = len(shape(node.inputs[0]) or [])
        if array is not None and row is not None and array.ndim <= rank:
            return user, np.broadcast_to(row, (width,)).astype(weight.dtype)
    return node, np.zeros(width, weight.dtype)


def _fuse(
    root: ir.Node, between: list[ir.Node], x: ir.Value, w: Array, b: Array, graph: ir.Graph
) -> None:
    if w.dtype != np.float32:
        raise Refuse(f"it computes in {w.dtype}, not in float32")
    after = sole_user(root.outputs[0])
    clamp = clamp_of(after)
    if after is not None and clamp is not None:
        between, root = [*between, root], after
    source = (between[0] if between else root).inputs[1]
    name = source.name if source is not None else "linear"
    inputs = [x, constant(graph, w, f"{name}_rows"), constant(graph, b, f"{name}_bias")]
    attributes = (clamp or NONE).attributes()
    new = new_node("Linear", inputs, attributes, domain="attnc", like=root.outputs[0])
    replace(graph, root, between, [new])
