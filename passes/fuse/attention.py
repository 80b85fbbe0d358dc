"""Fuses multi-head attention on tokens into one Attention on a packed value.

qkv -> (cut, reshape, transpose) -> q k^T -> scale -> Softmax -> v -> (transpose, reshape) -> y
=>  Attention(qkv, qkv)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import (
    Refuse,
    constant,
    is_op,
    new_node,
    replace,
    require_private,
    shape,
    sole_user,
)
from attnc.passes.heads import Mixed, Part, Scores, mixed_at, scores_at, second_product
from attnc.passes.movement import MOVES, data_inputs
from attnc.passes.packed_heads import Packed, pack, share
from attnc.passes.views import trace

PLAIN, TURNED = (0, 1, 2, 3), (1, 0, 2, 3)
#: Orders of y's axes (image, token, head, channel), those that cost nothing first.
ORDERS = [PLAIN, TURNED, *(p for p in permutations(range(4)) if p not in (PLAIN, TURNED))]


class FuseAttention(AnchorPass):
    """Attention over tokens: q, k, v cut from one linear layer or from several, in any layout."""

    name = "fuse_attention"
    reason = "the scores of all heads are larger than everything else and need not reach memory"
    anchors = frozenset({"Softmax"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces both products and what cuts and joins the heads."""
        scores = scores_at(node)
        product, weights = second_product(node)
        mixed = mixed_at(scores, product, weights)
        landing = _landing(scores, mixed)
        old = [*scores.nodes, *mixed.nodes, *landing.nodes]
        inside = [*scores.inner, *weights.nodes, product, *landing.nodes]
        require_private(inside, [landing.value])
        query, memory, starts = packed_parts(scores, mixed.v, graph)
        fused = attention_node(scores, mixed.v, query.value, memory.value, starts)
        new = [*query.nodes, *memory.nodes, fused, *_placed(fused.outputs[0], landing, graph)]
        root = landing.value.producer()
        assert root is not None
        replace(graph, root, old, list(dict.fromkeys(new)))
        return True


def packed_parts(
    scores: Scores, v: Part | None, graph: ir.Graph
) -> tuple[Packed, Packed, dict[str, int]]:
    """The values that hold q, and k and v (often one), and where each begins."""
    memory = [scores.k] if v is None else [scores.k, v]
    names = ["k_at", "v_at"][: len(memory)]
    if scores.q.tokens == scores.k.tokens and all(share(scores.q, part) for part in memory):
        found = pack([scores.q, *memory], graph)
        return found, found, dict(zip(["q_at", *names], found.starts, strict=True))
    query, others = pack([scores.q], graph), pack(memory, graph)
    starts = dict(zip(names, others.starts, strict=True))
    return query, others, {"q_at": query.starts[0], **starts}


def attention_node(
    scores: Scores, v: Part, query: ir.Value, memory: ir.Value, starts: dict[str, int]
) -> ir.Node:
    """The Attention, without a place in the graph yet."""
    heads, width = v.channels.shape
    attributes: dict[str, Any] = {
        "heads": heads,
        "dim_qk": scores.q.channels.shape[1],
        "dim_v": width,
        **starts,
        "scale": float(scores.scale),
    }
    if scores.q.channels.shape != scores.k.channels.shape or scores.heads != heads:
        raise Refuse("q, k and v have different heads")
    assert query.shape is not None
    sizes = [query.shape[0], query.shape[1], heads * width]
    inputs = [query, memory]
    return new_node("Attention", inputs, attributes, domain="attnc", like=query, sizes=sizes)


@dataclass(frozen=True)
class _Landing:
    """The value after the second product that is y with its axes in `order`, then reshaped."""

    value: ir.Value
    order: tuple[int, ...]
    sizes: tuple[int, int]
    nodes: tuple[ir.Node, ...]


def _landing(scores: Scores, mixed: Mixed) -> _Landing:
    """Where y can take over at the least cost, as far down as only data is moved."""
    heads, width = mixed.v.channels.shape
    found: list[tuple[tuple[int, bool, bool], _Landing]] = []
    value, nodes = mixed.out, list[ir.Node]()
    while True:
        order = _order(scores, mixed, value)
        if order is not None:
            sizes = shape(value) or []
            apart = sizes[-1:] != [heads * width]
            cost = (min(ORDERS.index(order), 2), apart, len(sizes) != 3)
            found.append((cost, _Landing(value, order, (heads, width), tuple(nodes))))
        user = sole_user(value)
        if user is None or not is_op(user, *MOVES) or len(user.outputs) != 1:
            break
        if len(data_inputs(user)) != 1:
            break
        nodes.append(user)
        value = user.outputs[0]
    if not found:
        raise Refuse("the order of its output is not understood", mixed.out.producer())
    return min(found, key=lambda item: item[0])[1]


def _order(scores: Scores, mixed: Mixed, value: ir.Value) -> tuple[int, ...] | None:
    """The order of y's axes that gives `value`, the same for all batch sizes."""
    fitting: Sequence[tuple[int, ...]] = ORDERS
    view = trace(value, stops={mixed.out})
    heads, width = mixed.v.channels.shape
    for batch in scores.batches:
        order = mixed.order(batch).reshape(-1)
        indices = order[view.indices(batch, order.size)]
        images = scores.places(batch).batch
        y = np.arange(order.size).reshape(images, -1, heads, width)
        if indices.size != y.size:
            return None
        flat = indices.reshape(-1)
        fitting = [o for o in fitting if np.array_equal(y.transpose(o).reshape(-1), flat)]
    return fitting[0] if fitting else None


def _placed(y: ir.Value, landing: _Landing, graph: ir.Graph) -> list[ir.Node]:
    """Nodes that bring y [B, M, C] into the place of the landing's value."""
    nodes: list[ir.Node] = []
    assert y.shape is not None
    batch, rows, width = list(y.shape)
    if landing.order == TURNED:
        sizes: list[Any] = [rows, batch, width]
        nodes.append(new_node("Transpose", [y], {"perm": [1, 0, 2]}, like=y, sizes=sizes))
    elif landing.order != PLAIN:
        apart = [batch, rows, *landing.sizes]
        nodes.append(_reshaped(y, apart, graph))
        sizes = [apart[axis] for axis in landing.order]
        perm = {"perm": list(landing.order)}
        nodes.append(new_node("Transpose", nodes[-1].outputs, perm, like=y, sizes=sizes))
    value = nodes[-1].outputs[0] if nodes else y
    wanted = shape(landing.value) or []
    if shape(value) != wanted or wanted.count(None) > 1:
        nodes.append(_reshaped(value, wanted, graph))
    return nodes


def _reshaped(value: ir.Value, sizes: list[Any], graph: ir.Graph) -> ir.Node:
    if sum(not isinstance(size, int) for size in sizes) > 1 or not sizes:
        raise Refuse("the shape of its output is not known")
    wanted = np.array([size if isinstance(size, int) else -1 for size in sizes], np.int64)
    target = constant(graph, wanted, "heads_shape")
    return new_node("Reshape", [value, target], like=value, sizes=sizes)
