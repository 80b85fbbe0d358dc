"""Attention on packed channels, and EViT's selection of tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnc.passes.graph import const
from attnc.targets.torch_forms.common import How, attend, heads, joined, take_rows, weights
from attnc.targets.torch_forms.operands import Operand, operands


def _queries(how: How, x: Any) -> Any:
    return heads(x, how["q_at"], how["heads"], how["dim_qk"])


def _keys(how: How, x: Any) -> Any:
    return heads(x, how["k_at"], how["heads"], how["dim_qk"])


def _values(how: How, x: Any) -> Any:
    return heads(x, how["v_at"], how["heads"], how["dim_v"])


def attention(how: How, query: Any, memory: Any) -> Any:
    """slices -> matmul -> softmax -> matmul"""
    q, k, v = _queries(how, query), _keys(how, memory), _values(how, memory)
    return joined(attend(q, k, v, how["scale"]))


def select_tokens_operands(node: Any) -> list[Operand]:
    """Without a bias that is zero."""
    *others, bias = operands(node)
    known = const(node.inputs[3])
    return [*others, None if known is not None and not np.any(known) else bias]


def select_tokens(how: How, x: Any, query: Any, memory: Any, bias: Any) -> Any:
    """class row's attention -> mean over heads -> topk -> gather; scores off the kept -> sum"""
    import torch

    shares = weights(_queries(how, query.narrow(1, 0, 1)), _keys(how, memory), how["scale"])
    count = shares.shape[-1] - 1
    scores = shares.mean(1).flatten(1).narrow(1, 1, count)
    index = scores.topk(how["keep"], 1).indices
    left = scores * _dropped(index, count)
    rows = [x.narrow(1, 0, 1), take_rows(x, index + 1)]
    if how["fuse"]:
        row = left.unsqueeze(1)
        fused = row.bmm(x.narrow(1, 1, count))
        if bias is not None:
            fused = fused + (row.sum(2, keepdim=True) - 1) * bias
        rows.append(fused)
    return torch.cat(rows, 1), index, left


def _dropped(index: Any, count: int) -> Any:
    """[B,N]: 0 for the places in index [B,K], 1 for the others; by comparison, not by scatter."""
    import torch

    places = torch.arange(count).reshape(1, 1, count)
    same = (index.unsqueeze(2) == places).to(torch.float32)
    return 1 - same.sum(1)


def selected_attention(how: How, query: Any, memory: Any, index: Any, shares: Any) -> Any:
    """gather of queries -> attention; with `fuse` attention of all -> gather and weighted sum"""
    import torch

    own = query.narrow(1, 0, 1)
    if not how["fuse"]:
        return attention(how, torch.cat([own, take_rows(query, index + 1)], 1), memory)
    whole = attention(how, query, memory)
    rest = shares.unsqueeze(1).bmm(whole.narrow(1, 1, shares.shape[1]))
    return torch.cat([whole.narrow(1, 0, 1), take_rows(whole, index + 1), rest], 1)


FORMS = {
    "Attention": attention,
    "SelectTokens": select_tokens,
    "SelectedAttention": selected_attention,
}
OPERANDS = {"SelectTokens": select_tokens_operands}
