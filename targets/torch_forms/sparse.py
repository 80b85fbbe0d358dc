"""Sparsifiner's attention: keys chosen by predicted scores, the others hidden from the softmax.

These runtimes have no sparse products: what is saved is the plain export's detours. What is kept is
marked at the places that top-k gives, so that of equal scores no more are kept than asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attnc.compiler.ops.base import NO_MIN
from attnc.targets.torch_forms.common import How, heads, joined, product

#: Added to a score that must not count; twice as much would overflow.
_FAR_BELOW = NO_MIN / 2


def sparse_attention(how: How, qkv: Any, *predictor: Any) -> Any:
    """Low-rank scores -> topk -> mask -> softmax of the full scores under it -> matmul"""
    return _attention(how, qkv, predictor, None)


def sparse_attention_active(how: How, qkv: Any, *inputs: Any) -> Any:
    """The same where tokens are pruned: `active` [B,N], the last input, is 1 or 0."""
    *predictor, active = inputs
    return _attention(how, qkv, predictor, active[:, None, :, None])


def _attention(how: How, qkv: Any, predictor: Sequence[Any], active: Any) -> Any:
    width = how["heads"] * how["dim"]
    q, k, v = (_kept(heads(qkv, i * width, how["heads"], how["dim"]), active) for i in range(3))
    seen = _seen(how, _scores(how, q, k, predictor, active), active)
    logits = product(q * how["scale"], k.transpose(2, 3))
    if seen is None:
        return joined(product(logits.softmax(-1), v))
    shares = (logits + (1 - seen) * _FAR_BELOW).softmax(-1) * seen
    return joined(product(shares, v))


def _kept(x: Any, active: Any) -> Any:
    return x if active is None else x * active


def _scores(how: How, q: Any, k: Any, predictor: Sequence[Any], active: Any) -> Any:
    """[B,h,N,N]: how much each query is expected to need each key."""
    wq, bq, wk, bk, proj_n, basis = predictor
    low_q = _kept(q.matmul(wq.t()) + bq, active)
    low = _kept(k.matmul(wk.t()) + bk, active).transpose(2, 3).matmul(proj_n)
    dense = (product(low_q, low) * how["coef_scale"]).softmax(-1)
    chosen = largest(dense, how["coef_topk"], how["coef_threshold"])
    return (dense if chosen is None else dense * chosen).matmul(basis)


def _seen(how: How, scores: Any, active: Any) -> Any:
    """1 where a query sees a key, else 0; None where all see all. The class token sees all."""
    import torch

    keys = None if active is None else active.transpose(2, 3)
    if keys is not None:
        scores = scores * keys + (1 - keys) * _FAR_BELOW
    seen = largest(scores, how["keep"], how["score_threshold"])
    if keys is not None:
        seen = keys.expand(scores.shape) if seen is None else seen * keys
    if how.get("prune_rows"):
        seen = active if seen is None else seen * active
    if seen is None:
        return None
    first = torch.zeros(1, 1, seen.shape[2], 1)
    first[:, :, 0] = 1
    return torch.maximum(seen, first)


def largest(x: Any, count: int, threshold: float) -> Any:
    """1 where the last axis has one of its largest, above the threshold, else 0; None if all are.

    A probability's threshold of less than 0 holds back nothing.
    """
    import torch

    above = None if threshold <= NO_MIN else (x > threshold).to(torch.float32)
    if count >= x.shape[-1]:
        return above
    index = x.topk(count, -1).indices
    marks = torch.zeros_like(x).scatter(-1, index, 1.0)
    return marks if above is None else marks * above


FORMS = {
    "SparseAttention": sparse_attention,
    "SparseAttentionActive": sparse_attention_active,
}
