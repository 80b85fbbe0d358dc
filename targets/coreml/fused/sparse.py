"""Sparsifiner's attention: keys chosen by predicted scores, the others hidden from the softmax.

Core ML has no sparse products: what is saved is the plain export's detours, not the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.base import NO_MIN
from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.fused.heads import cut, scaled
from attnc.targets.coreml.standard.spreading import spread
from attnc.targets.coreml.writer import sizes

#: What a hidden score counts as: the lowest number of the type.
_LOWEST = NO_MIN


@dataclass(frozen=True)
class _Work:
    """The parts of one attention, each [B,h,.,.]."""

    node: ir.Node
    to: Forms
    q: Any
    k: Any
    v: Any

    def number(self, name: str) -> Any:
        """An attribute of the node."""
        return attribute(self.node, name)

    def product(self, x: Any, y: Any, *, turned_x: bool = False, turned_y: bool = False) -> Any:
        """A product of matrices."""
        return self.to.emit("matmul", x=x, y=y, transpose_x=turned_x, transpose_y=turned_y)


def sparse_attention(node: ir.Node, to: Forms) -> None:
    """Low-rank scores -> topk -> mask -> softmax of the full scores under it -> matmul"""
    packed = node.inputs[0]
    held = to.first(packed)
    heads, dim = attribute(node, "heads"), attribute(node, "dim")
    width = heads * dim
    pieces = [(i * width, heads, dim) for i in range(3)]
    work = _Work(node, to, *cut(to, held, pieces))
    scores = _predicted(work)
    q = scaled(to, work.q, attribute(node, "scale"))
    logits = work.product(q, work.k, turned_x=True)
    mask, may_be_empty = _mask(work, scores)
    if mask is None:
        shares = to.emit("softmax", x=logits, axis=-1)
    else:
        limited = to.emit("select", cond=mask, a=logits, b=_LOWEST)
        shares = to.emit("softmax", x=limited, axis=-1)
        if may_be_empty:
            shares = to.emit("select", cond=mask, a=shares, b=0.0)
    out = work.product(work.v, shares, turned_y=True)
    batch, _, *plane = sizes(held)
    to.set_first(node.outputs[0], to.reshape(out, [batch, width, *plane]))


def _predicted(work: _Work) -> Any:
    """[B,h,N,N]: how much each query is expected to need each key."""
    to = work.to
    wq, bq, wk, bk, proj_n, basis = (to.plain(value) for value in work.node.inputs[1:7])
    factor = work.number("coef_scale")
    low_q = _layer(work, work.q, wq * factor, bq * factor)
    low_k = _layer(work, work.k, wk, bk)
    low = work.product(low_k, proj_n)
    dense = to.emit("softmax", x=work.product(low_q, low, turned_x=True), axis=-1)
    count, least = work.number("coef_topk"), work.number("coef_threshold")
    if least >= 0:
        kept = to.emit("greater", x=dense, y=float(least))
        dense = to.emit("select", cond=kept, a=dense, b=0.0) if least > 0 else dense
    if count < sizes(dense)[-1]:
        best, index = to.emit("topk", x=dense, k=count, axis=-1, ascending=False)
        dense = _scatter(to, spread(to, np.float32(0), sizes(dense)), index, best)
    return work.product(dense, basis)


def _layer(work: _Work, x: Any, weight: Any, bias: Any) -> Any:
    """[B,h,c,N] of x [B,h,d,N]: a layer that all heads share."""
    product = work.product(weight[None, None], x)
    return work.to.emit("add", x=product, y=np.reshape(bias, (1, 1, -1, 1)))


def _mask(work: _Work, scores: Any) -> tuple[Any, bool]:
    """Which keys each query sees, and whether there may be none; the class token sees all."""
    to, shape = work.to, sizes(scores)
    keep, least = work.number("keep"), work.number("score_threshold")
    first = np.zeros((1, 1, shape[2], 1), bool)
    first[:, :, 0] = True
    mask = None
    if keep < shape[-1]:
        index = to.emit("topk", x=scores, k=keep, axis=-1, ascending=False)[1]
        begin = spread(to, first.astype(np.float32), shape)
        marks = spread(to, np.float32(1), (*shape[:-1], keep))
        mask = to.emit("greater", x=_scatter(to, begin, index, marks), y=0.5)
    if least <= NO_MIN:
        return mask, False
    above = to.emit("greater", x=scores, y=float(least))
    mask = above if mask is None else to.emit("logical_and", x=mask, y=above)
    return to.emit("logical_or", x=mask, y=first), True


def _scatter(to: Forms, data: Any, index: Any, updates: Any) -> Any:
    return to.emit(
        "scatter_along_axis", data=data, indices=index, updates=updates, axis=-1, mode="update"
    )


OPERATORS = {"SparseAttention": sparse_attention}
