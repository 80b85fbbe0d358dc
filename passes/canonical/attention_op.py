"""Writes the Attention operator of opset 23 out, so that one reading serves all opsets.

Attention(q, k, v) scale=s   =>   q, k^T -> MatMul -> Mul(s) -> Softmax -> MatMul(v)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import Refuse, attribute, constant, new_node, replace, shape


class CanonicalAttention(AnchorPass):
    """Attention on [B, heads, tokens, width] without mask, cache or grouped heads."""

    name = "canonical_attention"
    reason = "opset 23 writes attention as one operator, older ones write it out"
    anchors = frozenset({"Attention"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the node by two products and a softmax."""
        q, k, v = _operands(node)
        sizes = [shape(value) for value in (q, k, v)]
        if any(s is None or len(s) != 4 or None in s[1:] for s in sizes):
            raise Refuse("its operands are not [B, heads, tokens, width] of known sizes")
        (_, heads, rows, width), (_, key_heads, columns, _), _ = (s or [] for s in sizes)
        if heads != key_heads:
            raise Refuse("queries and keys have different numbers of heads")
        assert width is not None
        scale = attribute(node, "scale") or width**-0.5
        dtype = q.dtype.numpy() if q.dtype is not None else np.dtype(np.float32)
        factor = constant(graph, np.array(scale, dtype), "attention_scale")
        batch = q.shape[0] if q.shape is not None else None
        square = [batch, heads, rows, columns]
        turned = new_node(
            "Transpose", [k], {"perm": [0, 1, 3, 2]}, like=k, sizes=[batch, heads, width, columns]
        )
        product = new_node("MatMul", [q, turned.outputs[0]], like=q, sizes=square)
        scores = new_node("Mul", [product.outputs[0], factor], like=product.outputs[0])
        weights = new_node("Softmax", scores.outputs, {"axis": -1}, like=scores.outputs[0])
        out = new_node("MatMul", [weights.outputs[0], v], like=node.outputs[0])
        replace(graph, node, [], [turned, product, scores, weights, out])
        return True


def _operands(node: ir.Node) -> tuple[ir.Value, ir.Value, ir.Value]:
    if any(value is not None for value in node.inputs[3:]):
        raise Refuse("it has a mask or a cache")
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise Refuse("its scores or its cache are read")
    if attribute(node, "is_causal", 0) or attribute(node, "softcap", 0.0):
        raise Refuse("it is causal or caps its scores")
    q, k, v = node.inputs[:3]
    assert q is not None
    assert k is not None
    assert v is not None
    return q, k, v
