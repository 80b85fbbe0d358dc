"""EViT's selection of tokens: top-k and gathers along the tokens, the rest summed by weight.

The class token's place leads the chosen ones, so that one gather gives it and them; the dropped
tokens' sum is a product with the scores, which are zero where a token is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import attribute, const
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.fused.attention import key_piece, parts, query_piece
from attnc.targets.coreml.fused.heads import (
    attend,
    attend_rows,
    cut,
    has_operator,
    scaled,
    weights,
)
from attnc.targets.coreml.standard.cuts import cut_axis
from attnc.targets.coreml.standard.spreading import spread
from attnc.targets.coreml.writer import sizes


def select_tokens(node: ir.Node, to: Forms) -> None:
    """class row's attention -> mean over heads -> topk -> gather; scores off the kept -> sum"""
    x, query, memory, bias = node.inputs
    scores = _scores(node, to, to.first(query), to.first(memory))
    batch, _, _, tokens = sizes(scores)
    keep = attribute(node, "keep")
    patches = cut_axis(to, scores, 3, 1, tokens)
    index = to.emit("topk", x=patches, k=keep, axis=-1, ascending=False)[1]
    out, found, shares = node.outputs
    to.set(found, to.reshape(index, [batch, keep]))
    places, masked = _remember(to, found, shares, scores)
    kept = _gather(to, _row(to, x), places)
    if attribute(node, "fuse"):
        kept = _joined(to, kept, _biased(to, _row(to, x), masked, bias))
    to.set_first(out, kept)
    if shares.uses() or shares.is_graph_output():
        rest = to.remember(("patches", masked), lambda: cut_axis(to, masked, 3, 1, tokens))
        to.set(shares, to.reshape(rest, [batch, tokens - 1]))


def _scores(node: ir.Node, to: Forms, query: Any, memory: Any) -> Any:
    """[B,1,1,N]: the class token's attention to all, averaged over heads."""
    rows = has_operator(to)
    pieces = [query_piece(node), key_piece(node)]
    if query is not memory:
        (q,), (k,) = (
            cut(to, part, [at], rows=rows) for part, at in zip((query, memory), pieces, strict=True)
        )
    else:
        after = max(at + heads * each for at, heads, each in pieces)
        left = sizes(memory)[1] - after
        values = [(after, left // pieces[1][2], pieces[1][2])] if left else []
        q, k = cut(to, memory, [*pieces, *values], rows=rows)[:2]
    share = _class_weights(to, q, k, attribute(node, "scale"), rows)
    return to.emit("reduce_mean", x=share, axes=[1], keep_dims=True)


def _class_weights(to: Forms, q: Any, k: Any, scale: float, rows: bool) -> Any:
    first = cut_axis(to, q, 2 if rows else 3, 0, 1)
    if not rows:
        return weights(to, first, k, scale)
    first = scaled(to, first, scale)
    product = to.emit("matmul", x=first, y=k, transpose_x=False, transpose_y=True)
    return to.emit("softmax", x=product, axis=-1)


def selected_attention(node: ir.Node, to: Forms) -> None:
    """gather of queries -> attention; with `fuse` attention of all -> gather and weighted sum"""
    query, memory, index, shares = node.inputs
    asked = to.first(query)
    seen = asked if query is memory else to.first(memory)
    rows, scale = has_operator(to), attribute(node, "scale")
    q, k, v = parts(node, to, asked, seen, rows=rows)
    work = attend_rows if rows else attend
    places = to.remember(("places", index), lambda: _places(to, to.plain(index)))
    if not attribute(node, "fuse"):
        chosen = _gather(to, q, places, axis=2 if rows else 3)
        to.set_first(node.outputs[0], _flat(to, work(to, chosen, k, v, scale)))
        return
    whole = _flat(to, work(to, q, k, v, scale))
    masked = to.remember(("masked", shares), lambda: _with_class(to, to.plain(shares)))
    total = _weighted(to, whole, masked)
    to.set_first(node.outputs[0], _joined(to, _gather(to, whole, places), total))


def _remember(to: Forms, index: ir.Value, shares: ir.Value, scores: Any) -> tuple[Any, Any]:
    """Places [B,1+K] with the class token's, and the scores [B,1,1,N] without all of these."""
    places = to.remember(("places", index), lambda: _places(to, to.plain(index)))
    batch, _, _, tokens = sizes(scores)

    def mask() -> Any:
        flat = to.reshape(scores, [batch, tokens])
        none = spread(to, np.float32(0), sizes(places))
        made = to.emit(
            "scatter_along_axis", data=flat, indices=places, updates=none, axis=-1, mode="update"
        )
        return to.reshape(made, [batch, 1, 1, tokens])

    return places, to.remember(("masked", shares), mask)


def _places(to: Forms, index: Any) -> Any:
    """[B,1+K] of an index [B,K] that does not count the class token."""
    later = to.emit("add", x=index, y=np.int32(1))
    none = spread(to, np.int32(0), [sizes(index)[0], 1])
    return to.emit("concat", values=[none, later], axis=1)


def _gather(to: Forms, x: Any, places: Any, axis: int = 3) -> Any:
    """The places [B,1+K] of an axis of x, in each picture its own."""
    if sizes(places)[0] == 1:
        line = to.once(("line", places), "squeeze", x=places, axes=[0])
        return to.emit("gather", x=x, indices=line, axis=axis)
    return to.emit("gather", x=x, indices=places, axis=axis, batch_dims=1)


def _row(to: Forms, value: ir.Value | None) -> Any:
    """Tokens [B,N,C] as [B,C,1,N]."""
    return to.first_at(value, 1, to.sizes(value)[1])


def _flat(to: Forms, x: Any) -> Any:
    """Heads [B,h,d,M] as channels [B,h*d,1,M]."""
    batch, heads, each, rows = sizes(x)
    return to.reshape(x, [batch, heads * each, 1, rows])


def _joined(to: Forms, x: Any, last: Any) -> Any:
    return to.emit("concat", values=[x, last], axis=3)


def _weighted(to: Forms, x: Any, shares: Any) -> Any:
    """[B,C,1,1]: the sum over tokens of x [B,C,1,N] by weight."""
    product = to.emit("mul", x=x, y=shares)
    return to.emit("reduce_sum", x=product, axes=[3], keep_dims=True)


def _biased(to: Forms, x: Any, shares: Any, bias: ir.Value | None) -> Any:
    """The weighted sum, and the bias as often as the weights fall short of one."""
    total, known = _weighted(to, x, shares), const(bias)
    if bias is None or (known is not None and not np.any(known)):
        return total
    rest = to.emit("reduce_sum", x=shares, axes=[3], keep_dims=True)
    rest = to.emit("sub", x=rest, y=1.0)
    column = to.reshape(to.plain(bias), [1, sizes(x)[1], 1, 1])
    shift = to.emit("mul", x=rest, y=column)
    return to.emit("add", x=total, y=shift)


def _with_class(to: Forms, shares: Any) -> Any:
    """[B,1,1,N] of weights [B,N-1]: the class token has none."""
    batch, tokens = sizes(shares)
    row = to.reshape(shares, [batch, 1, 1, tokens])
    none = spread(to, np.float32(0), [batch, 1, 1, 1])
    return to.emit("concat", values=[none, row], axis=3)


OPERATORS = {"SelectTokens": select_tokens, "SelectedAttention": selected_attention}
