"""Scaled dot product attention."""

from __future__ import annotations

import numpy as np

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import Array


def _masked(call: Call, scores: Array) -> Array:
    mask = call.get("attn_mask")
    if mask is None:
        return scores
    if mask.dtype == np.bool_:
        return np.where(mask, scores, np.float32(-np.inf))
    return np.asarray(scores + call.wide("attn_mask"))


def _attention(call: Call) -> Array:
    query, key, value = call.wide("query"), call.wide("key"), call.wide("value")
    scale = np.float32(1 / np.sqrt(query.shape[-1]))
    scores = _masked(call, (query @ key.swapaxes(-1, -2)) * scale)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = powers / powers.sum(axis=-1, keepdims=True)
    return np.asarray(weights @ value)


OPERATIONS = {"scaled_dot_product_attention": _attention}
