"""One form of a linear layer on a matrix: Gemm(x, w, b) with w [N, C] and transB.

MatMul(x, w^T) -> Add(b)       =>       Gemm(x, w, b) transB=1
Gemm(x, w^T) alpha, beta       =>       Gemm(x, w, b) transB=1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import (
    Array,
    Refuse,
    attribute,
    const,
    constant,
    input_at,
    is_const,
    is_op,
    new_node,
    replace,
    shape,
    sole_user,
)


@dataclass(frozen=True)
class Linear:
    """A canonical Gemm with constant weights: y = x w^T + b."""

    node: ir.Node
    x: ir.Value
    w: ir.Value
    b: ir.Value

    def weight(self) -> Array:
        """[N, C]"""
        array = const(self.w)
        assert array is not None
        return array

    def bias(self) -> Array:
        """[N]"""
        array = const(self.b)
        assert array is not None
        return array


def linear_of(node: ir.Node | None) -> Linear | None:
    """The linear layer at `node`, if it has the canonical form; else None."""
    if node is None or not is_op(node, "Gemm") or len(node.inputs) != 3:
        return None
    x, w, b = node.inputs
    if x is None or w is None or b is None or not is_const(w) or not is_const(b):
        return None
    plain = attribute(node, "alpha", 1.0) == 1.0 and attribute(node, "beta", 1.0) == 1.0
    transposed = attribute(node, "transB", 0) == 1 and attribute(node, "transA", 0) == 0
    vector = b.shape is not None and b.shape.rank() == 1 and b.shape[0] == _rows(w)
    return Linear(node, x, w, b) if plain and transposed and vector else None


def _rows(w: ir.Value) -> object:
    return None if w.shape is None else w.shape[0]


class CanonicalLinear(AnchorPass):
    """Gemm in any form, and MatMul (+ Add) of a matrix with constant weights."""

    name = "canonical_linear"
    reason = "one form of a linear layer: Gemm with weights [out, in] and a bias"
    anchors = frozenset({"Gemm", "MatMul"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Rewrites the node unless it has the canonical form already."""
        if linear_of(node) is not None:
            return False
        return self._gemm(node, graph) if is_op(node, "Gemm") else self._matmul(node, graph)

    def _gemm(self, node: ir.Node, graph: ir.Graph) -> bool:
        weight, b = const(node.inputs[1]), input_at(node, 2)
        bias = const(b)
        if weight is None or (b is not None and bias is None):
            raise Refuse("its weights are not constants")
        if attribute(node, "transA", 0):
            raise Refuse("its input is transposed")
        w = weight if attribute(node, "transB", 0) else weight.T
        w = (w * np.asarray(attribute(node, "alpha", 1.0), w.dtype)).astype(w.dtype)
        bias = np.zeros((), w.dtype) if bias is None else bias
        bias = bias * np.asarray(attribute(node, "beta", 1.0), w.dtype)
        if bias.size not in (1, w.shape[0]):
            raise Refuse("its bias has a row per sample")
        row = np.broadcast_to(bias.reshape(-1), w.shape[:1]).astype(w.dtype)
        _replace_by_gemm(node, [], node.inputs[0], w, row, graph)
        return True

    def _matmul(self, node: ir.Node, graph: ir.Graph) -> bool:
        x, sizes = node.inputs[0], shape(node.inputs[0])
        weight = const(node.inputs[1])
        if weight is None or weight.ndim != 2 or sizes is None or len(sizes) != 2:
            return False
        user = sole_user(node.outputs[0])
        row, root = np.zeros(weight.shape[1], weight.dtype), node
        if is_op(user, "Add"):
            assert user is not None
            other = next(v for v in user.inputs if v is not node.outputs[0])
            found = const(other)
            if found is not None and found.size in (1, row.size) and found.ndim <= 2:
                row, root = np.broadcast_to(found.reshape(-1), row.shape).astype(row.dtype), user
        _replace_by_gemm(root, [node], x, weight.T, row, graph)
        return True


def _replace_by_gemm(
    root: ir.Node, olds: list[ir.Node], x: ir.Value | None, w: Array, b: Array, graph: ir.Graph
) -> None:
    source = (olds or [root])[0].inputs[1]
    name = source.name if source is not None else "linear"
    inputs = [x, constant(graph, w, f"{name}_rows"), constant(graph, b, f"{name}_bias")]
    replace(graph, root, olds, [new_node("Gemm", inputs, {"transB": 1})])
