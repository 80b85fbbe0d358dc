"""SparseAttention: Sparsifiner's predicted keys and the attention over them (arXiv 2303.13755).

Each query but the class token's keeps few coefficients of a low-rank map, from these a score for
each key, and attends to the best scored keys only; the class token (row 0) attends to all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops import sparse_attention_body as body
from attnc.compiler.ops.base import (
    NO_MIN,
    Array,
    Attributes,
    Choosing,
    Cost,
    Operator,
    Shape,
    float_bytes,
)
from attnc.compiler.ops.reference import softmax
from attnc.compiler.ops.sparse_attention_examples import (
    clear_rows,
    examples,
    examples_active,
    heads_of,
)

#: `coef_topk` coefficients above `coef_threshold` stay, `keep` scores above `score_threshold`: a
#: model that has only one of the two limits sets the other to the whole axis, or to NO_MIN.
ATTRIBUTES = {
    "heads": "int",
    "dim": "int",
    "coef_topk": "int",
    "coef_threshold": "float",
    "keep": "int",
    "score_threshold": "float",
    "scale": "float",
    "coef_scale": "float",
}
INPUTS = ("qkv", "wq", "bq", "wk", "bk", "proj_n", "basis")


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B, N, heads*dim]."""
    return (*shapes[0][:2], attributes["heads"] * attributes["dim"])


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """The predictor with its sparse coefficients, and the attention over the kept keys."""
    batch, tokens, _ = shapes[0]
    rank, dim, heads = shapes[5][1], attributes["dim"], attributes["heads"]
    row = 2 * dim * rank + tokens * min(rank, attributes["coef_topk"])
    row += 2 * dim * min(tokens, attributes["keep"])
    total = 2 * batch * heads * tokens * (row + 2 * dim)
    return Cost(total, float_bytes(output_shape(shapes, attributes), *shapes))


def chooses(shapes: Sequence[Shape], attributes: Attributes) -> bool:
    """Whether any key is left out for its score."""
    return bool(attributes["keep"] < shapes[0][1] or attributes["score_threshold"] > NO_MIN)


def settled(inputs: Sequence[Array], attributes: Attributes) -> Array:
    """Which elements of the output belong to a query whose choices are no near-ties."""
    qkv, *predictor = inputs
    has_mask = len(inputs) > len(INPUTS)
    active = predictor.pop() if has_mask else np.ones(qkv.shape[:2])
    if not chooses([qkv.shape], attributes):
        return np.ones(output_shape([qkv.shape], attributes), bool)
    clear = clear_rows([qkv, *predictor], active, attributes)
    if attributes.get("prune_rows"):
        clear |= np.asarray(active)[:, None] == 0  # these see nothing
    clear[:, :, 0] = True  # the class token chooses nothing
    return np.asarray(clear.transpose(0, 2, 1).repeat(attributes["dim"], axis=2))


def largest(values: Array, count: int, threshold: float) -> Array:
    """Which of the last axis are among its `count` largest (of equals the first) and above."""
    order = np.argsort(-values, axis=-1, kind="stable")[..., :count]
    chosen = np.zeros(values.shape, bool)
    np.put_along_axis(chosen, order, True, axis=-1)
    return np.asarray(chosen & (values > threshold))


def summary_of(
    qkv: Array, predictor: Sequence[Array], alive: Array, attributes: Attributes
) -> Array:
    """[B, heads, c, r]: all keys of a head, seen through the low-rank map."""
    wk, bk, proj_n = (np.asarray(p, np.float64) for p in predictor)
    _, k, _ = parts_of(qkv, alive, attributes)
    low_k = (k @ wk.T + bk) * np.asarray(alive, np.float64)[:, None, :, None]
    return np.asarray(low_k.swapaxes(2, 3) @ proj_n)


def parts_of(qkv: Array, alive: Array, attributes: Attributes) -> Array:
    """[3, B, heads, N, dim]: queries, keys and values, zero where a token is pruned."""
    active = np.asarray(alive, np.float64)[:, None, :, None]
    return np.asarray(heads_of(np.asarray(qkv, np.float64), attributes) * active)


def scores_of(low_q: Array, low: Array, basis: Array, attributes: Attributes) -> Array:
    """[B, heads, N, N]: how much each query is expected to need each key."""
    coefficients = softmax(low_q @ low * attributes["coef_scale"])
    chosen = largest(coefficients, attributes["coef_topk"], attributes["coef_threshold"])
    return np.asarray(np.where(chosen, coefficients, 0.0) @ basis)


def rows_of(
    qkv: Array, low: Array, predictor: Sequence[Array], alive: Array, attributes: Attributes
) -> Array:
    """[B, N, heads*dim]: each query's choice by the summary, and what it takes from it."""
    wq, bq, basis = (np.asarray(p, np.float64) for p in predictor)
    active = np.asarray(alive, np.float64)[:, None, :, None]
    q, k, v = parts_of(qkv, alive, attributes)
    scores = scores_of((q @ wq.T + bq) * active, np.asarray(low, np.float64), basis, attributes)
    scores = np.where(active.swapaxes(2, 3) > 0, scores, NO_MIN)
    mask = largest(scores, int(attributes["keep"]), attributes["score_threshold"])
    if attributes["prune_rows"]:
        mask &= active > 0
    mask[:, :, 0] = True
    logits = np.where(mask, q @ k.swapaxes(2, 3) * attributes["scale"], NO_MIN)
    out = np.where(mask, softmax(logits), 0.0) @ v
    return np.asarray(out.transpose(0, 2, 1, 3).reshape(*qkv.shape[:2], -1))


def reference(qkv: Array, *inputs: Array, **attributes: float) -> Array:
    """Float64 SparseAttention."""
    return reference_active(qkv, *inputs, np.ones(qkv.shape[:2]), **attributes, prune_rows=0)


def reference_active(qkv: Array, *inputs: Array, **attributes: float) -> Array:
    """Float64 SparseAttentionActive."""
    wq, bq, wk, bk, proj_n, basis, alive = inputs
    low = summary_of(qkv, (wk, bk, proj_n), alive, attributes)
    return rows_of(qkv, low, (wq, bq, basis), alive, attributes)


SPARSE_ATTENTION = Operator(
    name="SparseAttention",
    inputs=INPUTS,
    outputs=("y",),
    attributes=ATTRIBUTES,
    body=body.HEAD
    + body.PLAIN
    + body.low("q", active=False)
    + body.low("k", active=False)
    + body.summary("low")
    + body.scores("proj_n", 1)
    + "  scores = Identity (found)\n"
    + body.kept("proj_n", 0)
    + body.attend("kept"),
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="Sparsifiner's predictor and the attention over the predicted keys (packed q, k, v)",
    discontinuous=Choosing(chooses, settled),
)

SPARSE_ATTENTION_ACTIVE = Operator(
    name="SparseAttentionActive",
    inputs=(*INPUTS, "active"),
    outputs=("y",),
    attributes={**ATTRIBUTES, "prune_rows": "int"},
    body=body.HEAD
    + body.MASKED
    + body.low("q", active=True)
    + body.low("k", active=True)
    + body.summary("low")
    + body.scores("proj_n", 1)
    + body.INACTIVE
    + body.kept("proj_n", 0)
    + body.ROWS
    + body.attend("chosen_keys"),
    reference=reference_active,
    output_shape=output_shape,
    examples=examples_active,
    cost=cost,
    doc="SparseAttention where some tokens are pruned: `active` [B,N] is 1 or 0",
    discontinuous=Choosing(chooses, settled),
)
