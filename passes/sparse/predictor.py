"""Reads Sparsifiner's predictor off a graph, from the scores back to q and k.

softmax((q Wq + bq) ((k Wk + bk)^T P) * s) -> the few largest -> MatMul(basis) = scores
With pruned tokens both brackets are masked, and -inf hides the scores of inactive keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import Array, Refuse, attribute, const, is_op, shape
from attnc.passes.sparse.active import ActiveTokens
from attnc.passes.sparse.heads import Heads, Tokens, is_transposed, taken_rows
from attnc.passes.sparse.selection import Selection, sparse_values_of
from attnc.passes.views import View, trace


@dataclass(frozen=True)
class Predictor:
    """What makes the scores of the queries `tokens`; weights in the layout of SparseAttention."""

    q: Heads
    k: Heads
    tokens: Tokens
    wq: Array
    bq: Array
    wk: Array
    bk: Array
    proj_n: Array
    basis: Array
    chosen: Selection
    scale: float
    nodes: tuple[ir.Node, ...]


@dataclass(frozen=True)
class _Linear:
    """x w^T + b, w [out, in]."""

    x: ir.Value
    w: Array
    b: Array
    nodes: tuple[ir.Node, ...]


def predictor_of(scores: ir.Value, active: ActiveTokens) -> Predictor:
    """The predictor behind `scores` [B, heads, rows, N]; refuses with the reason if it is none.

    `active` learns which masks are met.
    """
    product = scores.producer()
    if product is not None and is_op(product, "Where"):
        product = active.columns(product).producer()
    if product is None or not is_op(product, "MatMul"):
        raise Refuse("the scores are not coefficients times a basis", product)
    basis = const(product.inputs[1])
    if basis is None or basis.ndim != 2:
        raise Refuse("the basis of the scores is not a constant matrix", product)
    chosen = sparse_values_of(product.inputs[0])
    if chosen is None:
        raise Refuse("the coefficients of the basis are not the largest of a softmax", product)
    softmax = chosen.of.producer()
    if softmax is None or not is_op(softmax, "Softmax") or not _over_last(softmax):
        raise Refuse("the coefficients are no softmax", product)
    rows = trace(_value(softmax.inputs[0]), factors=True)
    logits = rows.source.producer()
    if logits is None or not is_op(logits, "MatMul"):
        raise Refuse("the coefficients do not come from one product", softmax)
    low_q = active.trace(logits.inputs[0])
    query = _linear(low_q.source, logits)
    q = active.heads(query.x, "q of the predictor")
    active.cover(low_q, q.tokens, "its projection of q")
    key, low_k, proj_n, low_scale, nodes = _low_keys(logits.inputs[1], active)
    k = active.heads(key.x, "k of the predictor")
    active.cover(low_k, k.tokens, "its projection of k")
    taken = taken_rows(low_q, "q of the predictor")[taken_rows(rows, "the coefficients")]
    inner = (softmax, logits, product, *query.nodes, *key.nodes, *nodes, *chosen.nodes)
    inner += (*rows.nodes, *low_q.nodes)
    return Predictor(
        q,
        k,
        q.tokens[taken],
        query.w * q.scale,
        query.b,
        key.w * k.scale,
        key.b,
        proj_n,
        basis,
        chosen,
        rows.scale * low_q.scale * low_scale,
        inner,
    )


def _low_keys(
    value: ir.Value | None, active: ActiveTokens
) -> tuple[_Linear, View, Array, float, tuple[ir.Node, ...]]:
    """k' and P of a value that is k'^T P, [.., narrow, rank], and a factor."""
    view = trace(_value(value), factors=True)
    product = view.source.producer()
    if product is None or not is_op(product, "MatMul"):
        raise Refuse("the keys of the predictor are not reduced by one product")
    turned = is_transposed(view, "the reduced keys")
    weight, other = const(product.inputs[1]), active.trace(product.inputs[0])
    if weight is None:  # P^T k', to be transposed
        weight, other = const(product.inputs[0]), active.trace(product.inputs[1])
        if weight is None or not turned or is_transposed(other, "k of the predictor"):
            raise Refuse("what reduces the keys of the predictor is not a constant", product)
        weight = weight.swapaxes(-1, -2)
    elif turned or not is_transposed(other, "k of the predictor"):
        raise Refuse("the keys of the predictor are not reduced over the tokens", product)
    if weight.ndim != 2:
        raise Refuse("the heads reduce their keys differently", product)
    key = _linear(other.source, product)
    return key, other, weight, view.scale * other.scale, (product, *view.nodes, *other.nodes)


def _linear(value: ir.Value, at: ir.Node) -> _Linear:
    """A product with a constant matrix, with or without bias."""
    node, bias, nodes = value.producer(), None, list[ir.Node]()
    if node is not None and is_op(node, "Add"):
        nodes.append(node)
        one, other = node.inputs
        bias, inner = const(other), one
        if bias is None:
            bias, inner = const(one), other
        node = inner.producer() if inner is not None and bias is not None else None
    if node is None or not is_op(node, "MatMul") or node.inputs[0] is None:
        raise Refuse("q or k of the predictor does not come from a linear layer", at)
    weight = const(node.inputs[1])
    if weight is None or weight.ndim != 2:
        raise Refuse("the predictor's weights are not one constant matrix", node)
    if bias is not None and bias.size != weight.shape[1]:
        raise Refuse("the predictor's bias differs from token to token", node)
    b = np.zeros(weight.shape[1], weight.dtype) if bias is None else bias.reshape(-1)
    return _Linear(node.inputs[0], np.ascontiguousarray(weight.T), b, (*nodes, node))


def _over_last(softmax: ir.Node) -> bool:
    sizes = shape(softmax.inputs[0])
    return sizes is not None and attribute(softmax, "axis", -1) % len(sizes) == len(sizes) - 1


def _value(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value
