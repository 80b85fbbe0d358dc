"""Attention on packed channels."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.fused.heads import Piece, attend, attend_rows, cut, has_operator
from attnc.targets.coreml.writer import sizes


def query_piece(node: ir.Node) -> Piece:
    """Where the queries are."""
    return attribute(node, "q_at"), attribute(node, "heads"), attribute(node, "dim_qk")


def key_piece(node: ir.Node) -> Piece:
    """Where the keys are."""
    return attribute(node, "k_at"), attribute(node, "heads"), attribute(node, "dim_qk")


def value_piece(node: ir.Node) -> Piece:
    """Where the values are."""
    return attribute(node, "v_at"), attribute(node, "heads"), attribute(node, "dim_v")


def parts(node: ir.Node, to: Forms, query: Any, memory: Any, *, rows: bool) -> tuple[Any, Any, Any]:
    """q, k and v of all heads; cut together where they come from one value."""
    q_at, k_at, v_at = query_piece(node), key_piece(node), value_piece(node)
    if query is memory:
        q, k, v = cut(to, memory, [q_at, k_at, v_at], rows=rows)
        return q, k, v
    (q,) = cut(to, query, [q_at], rows=rows)
    k, v = cut(to, memory, [k_at, v_at], rows=rows)
    return q, k, v


def attention(node: ir.Node, to: Forms) -> None:
    """split -> matmul -> softmax -> matmul, or scaled_dot_product_attention from iOS 18"""
    query = to.first(node.inputs[0])
    same = node.inputs[0] is node.inputs[1]
    memory = query if same else to.first(node.inputs[1])
    rows = has_operator(to)
    q, k, v = parts(node, to, query, memory, rows=rows)
    out = (attend_rows if rows else attend)(to, q, k, v, attribute(node, "scale"))
    batch, _, *plane = sizes(query)
    width = attribute(node, "heads") * attribute(node, "dim_v")
    to.set_first(node.outputs[0], to.reshape(out, [batch, width, *plane]))


OPERATORS = {"Attention": attention}
