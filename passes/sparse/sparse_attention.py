"""Fuses Sparsifiner's predictor and the attention over the predicted keys into SparseAttention.

qkv -+-> q, k -> predictor -> scores -> TopK -> mask -------+
     +-> q, k -> MatMul -> (scale) ------------------------ Where(-inf) -> Softmax -> MatMul(v)
=>  SparseAttention(qkv, wq, bq, wk, bk, proj_n, basis)
Where inactive tokens are zeroed and hidden: SparseAttentionActive(the same, active).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.base import DOMAIN, NO_MIN
from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import (
    Refuse,
    constant,
    insert_before,
    is_op,
    new_node,
    replace,
    shape,
    sole_user,
)
from attnc.passes.movement import MOVES, concrete_shape
from attnc.passes.sparse.active import ActiveTokens
from attnc.passes.sparse.class_row import Reader, attach, class_row, readers_of
from attnc.passes.sparse.heads import Heads, taken_rows
from attnc.passes.sparse.masked_softmax import Rows, rows_of
from attnc.passes.sparse.predictor import Predictor, predictor_of
from attnc.passes.sparse.selection import Selection
from attnc.passes.views import trace


class FuseSparseAttention(AnchorPass):
    """Attention over the keys that a low-rank predictor scores best."""

    name = "fuse_sparse_attention"
    reason = "dense products, TopK and masks of N x N become sums over the keys that are kept"
    anchors = frozenset({"MatMul"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces everything from q, k and v to the joined heads."""
        parts = rows_of(node.inputs[0])
        if not any(part.mask.keys for part in parts):
            return False
        mask, active = _mask(parts), ActiveTokens()
        dense = [_logits(part, active) for part in parts]
        v = active.heads(node.inputs[1], "v")
        predictor = predictor_of(mask.of, active)
        _check_tokens(parts, dense, predictor)
        _check_packed([predictor.q, dense[0].q], [predictor.k, dense[0].k], v)
        pruned = active.settle()
        blind = _check_rows(parts, active)
        if pruned:
            _check_count(mask, active)
        joined = _joined_heads(node, v)
        inside = [*mask.nodes, *predictor.nodes, *(n for d in dense for n in d.nodes), node]
        inside += [*active.nodes, *(inner for part in parts for inner in part.nodes)]
        readers = readers_of(parts[0], set(inside), node)
        _check_private(inside, node, readers)
        if readers and pruned and not active.has_first():
            raise Refuse("the class token, whose weights are read, may be inactive")
        places = [*(reader.node for reader in readers), _maker(joined)]
        alive, new = active.value(graph) if pruned else (None, [])
        if readers:
            new += class_row(dense[0].q, dense[0].scale, alive, graph, joined)
            attach(readers, new[-1].outputs[0])
        insert_before(graph, places, new, inside)
        fused = _fused(predictor, mask, dense[0].scale, joined, graph, alive, blind)
        replace(graph, _maker(joined), inside, [fused])
        return True


@dataclass(frozen=True)
class _Dense:
    """The product behind the logits of some rows."""

    q: Heads
    k: Heads
    scale: float
    tokens: tuple[int, ...]
    nodes: tuple[ir.Node, ...]


def _mask(parts: list[Rows]) -> Selection:
    """The selection of all rows but the class token's."""
    first, *others = parts
    keys = [other.mask.keys for other in others]
    if first.mask.keys is not None or first.count != 1 or len(keys) != 1 or keys[0] is None:
        raise Refuse("not one first query that sees all keys, before others that see some")
    if keys[0].threshold is not None and not others[0].zero:
        raise Refuse("a query without any key above the threshold would be NaN")
    return keys[0]


def _logits(part: Rows, active: ActiveTokens) -> _Dense:
    view = trace(part.logits, factors=True)
    product = view.source.producer()
    if product is None or not is_op(product, "MatMul"):
        raise Refuse("the masked scores are not a product of q and k", part.nodes[0])
    q = active.heads(product.inputs[0], "q")
    k = active.heads(product.inputs[1], "k", transposed=True)
    if not np.array_equal(k.tokens, np.arange(len(k.tokens))):
        raise Refuse("the keys are not all tokens, in their order", product)
    tokens = q.tokens[taken_rows(view, "the masked scores")]
    scale = view.scale * q.scale * k.scale
    return _Dense(q, k, scale, tuple(int(t) for t in tokens), (product, *view.nodes))


def _check_tokens(parts: list[Rows], dense: list[_Dense], predictor: Predictor) -> None:
    """Rows are tokens 0, 1, 2, ...; those but the first are scored by the predictor."""
    count = len(predictor.k.tokens)
    shared = len({part.logits for part in parts}) == 1
    rows = list(dense[0].tokens) if shared else [t for d in dense for t in d.tokens]
    if rows != list(range(count)) or sum(part.count for part in parts) != count:
        raise Refuse("the queries are not all tokens, in their order")
    if predictor.tokens.tolist() != list(range(1, count)):
        raise Refuse("the scores are not those of all queries but the first")
    if any(d.scale != dense[0].scale for d in dense):
        raise Refuse("the queries are scaled differently")
    if predictor.proj_n.shape[0] != count or predictor.basis.shape[1] != count:
        raise Refuse("the predictor is for another number of tokens")


def _check_rows(parts: list[Rows], active: ActiveTokens) -> bool:
    """Whether inactive queries see nothing; refuses masks of other queries."""
    start = 0
    for part in parts:
        tokens = np.arange(start, start + part.count)
        for mask in part.mask.queries:
            active.rows(mask.value, tokens, mask.start, mask.inverted)
        start += part.count
    if not any(part.mask.queries for part in parts):
        return False
    if parts[0].mask.queries and not active.has_first():
        raise Refuse("the first query sees all keys only if its token is active")
    if not parts[-1].mask.queries:
        raise Refuse("of the queries only the first is masked")
    if not parts[-1].zero:
        raise Refuse("an inactive query, which sees no key, would be NaN")
    return True


def _check_count(mask: Selection, active: ActiveTokens) -> None:
    """Of too few active tokens a choice would take inactive ones, the operator takes none."""
    if mask.count is None:
        return
    least = active.least()
    if least is None:
        raise Refuse("how many tokens are active, for the keys to choose from, is not known")
    if least < mask.count:
        raise Refuse(f"{mask.count} keys are kept of {least} active tokens")


def _check_packed(queries: list[Heads], keys: list[Heads], v: Heads) -> None:
    width, source = v.heads * v.dim, v.source
    places = [(q, 0) for q in queries] + [(k, width) for k in keys] + [(v, 2 * width)]
    for part, at in places:
        if part.source is not source:
            raise Refuse("q, k and v come from different values")
        if (part.heads, part.dim, part.at) != (v.heads, v.dim, at):
            raise Refuse("q, k and v are not packed one after the other, head by head")
    sizes = shape(source)
    if sizes is None or sizes[-1] != 3 * width:
        raise Refuse("the packed value holds more than q, k and v")
    if v.scale != 1.0:
        raise Refuse("v is scaled")
    if not np.array_equal(v.tokens, np.arange(len(v.tokens))):
        raise Refuse("the values are not all tokens, in their order")


def _joined_heads(product: ir.Node, v: Heads) -> ir.Value:
    """The value [B, N, heads*dim] that the heads become."""
    value = out = product.outputs[0]
    while True:
        user = sole_user(value)
        if user is None or not is_op(user, *MOVES) or len(user.outputs) != 1:
            raise Refuse("the heads are not joined to one value [batch, tokens, channels]", product)
        value = user.outputs[0]
        view = trace(value, stops={out})
        if all(_is_joined(view.indices(b), concrete_shape(out, b), b, v) for b in view.batches()):
            return value


def _is_joined(indices: np.ndarray, sizes: tuple[int, ...], batch: int, v: Heads) -> bool:
    count, rows = int(np.prod(sizes)), sizes[-2]
    heads = np.arange(count).reshape(batch, v.heads, rows, v.dim)
    joined = heads.transpose(0, 2, 1, 3).reshape(batch, rows, v.heads * v.dim)
    return indices.shape == joined.shape and np.array_equal(indices, joined)


def _check_private(inside: Iterable[ir.Node], last: ir.Node, readers: list[Reader]) -> None:
    """Refuse if anything computed inside is read outside, but for its shape or by `readers`."""
    nodes, known = dict.fromkeys(inside), {(reader.node, reader.place) for reader in readers}
    for node in nodes:
        if node is last:
            continue
        for value in node.outputs:
            if value.is_graph_output():
                raise Refuse(f"the value {value.name!r} inside is an output of the graph", node)
            for use in value.uses():
                allowed = use.node in nodes or (use.node, use.idx) in known
                if not allowed and not is_op(use.node, "Shape"):
                    raise Refuse(
                        f"the value {value.name!r} inside has a second consumer, "
                        f"{use.node.op_type} {use.node.name!r}",
                        node,
                    )


def _fused(
    predictor: Predictor,
    mask: Selection,
    scale: float,
    joined: ir.Value,
    graph: ir.Graph,
    alive: ir.Value | None,
    blind: bool,
) -> ir.Node:
    chosen, v = predictor.chosen, predictor.q
    name = f"{joined.name}_predictor"
    weights = ("wq", "bq", "wk", "bk", "proj_n", "basis")
    inputs = [
        constant(graph, np.asarray(getattr(predictor, part), np.float32), f"{name}_{part}")
        for part in weights
    ]
    rank, tokens = predictor.basis.shape
    attributes = {
        "heads": v.heads,
        "dim": v.dim,
        "coef_topk": rank if chosen.count is None else chosen.count,
        "coef_threshold": NO_MIN if chosen.threshold is None else float(chosen.threshold),
        "keep": tokens if mask.count is None else mask.count,
        "score_threshold": NO_MIN if mask.threshold is None else float(mask.threshold),
        "scale": float(scale),
        "coef_scale": float(predictor.scale),
    }
    inputs, name = [v.source, *inputs], "SparseAttention"
    if alive is not None:
        inputs, name = [*inputs, alive], "SparseAttentionActive"
        attributes["prune_rows"] = int(blind)
    return new_node(name, inputs, attributes, domain=DOMAIN, like=joined)


def _maker(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None
    return node
