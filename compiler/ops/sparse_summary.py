"""SparseSummary and SparseRows: SparseAttention in two launches (arXiv 2303.13755).

What all queries share, the keys seen through the low-rank map, is small but needs every key:
on devices whose blocks cannot wait for each other, it is an operator of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from attnc.compiler.ops import sparse_attention_body as body
from attnc.compiler.ops.base import (
    Array,
    Attributes,
    Choosing,
    Cost,
    Example,
    Operator,
    Shape,
    float_bytes,
)
from attnc.compiler.ops.sparse_attention import (
    ATTRIBUTES,
    SPARSE_ATTENTION,
    SPARSE_ATTENTION_ACTIVE,
    chooses,
    output_shape,
    rows_of,
    summary_of,
)
from attnc.compiler.ops.sparse_attention_examples import clear_choices

HEADS = {"heads": "int", "dim": "int"}


def summary(qkv: Array, wk: Array, bk: Array, proj_n: Array, *active: Array, **a: Any) -> Array:
    """Float64 SparseSummary; SparseSummaryActive with a fifth array."""
    return summary_of(qkv, (wk, bk, proj_n), _alive(qkv, active), a)


def rows(
    qkv: Array, low: Array, wq: Array, bq: Array, basis: Array, *active: Array, **a: Any
) -> Array:
    """Float64 SparseRows; SparseRowsActive with a sixth array."""
    return rows_of(qkv, low, (wq, bq, basis), _alive(qkv, active), {"prune_rows": 0, **a})


def _alive(qkv: Array, active: Sequence[Array]) -> Array:
    return active[0] if active else np.ones(qkv.shape[:2])


def summary_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B, heads, c, r]"""
    return (shapes[0][0], attributes["heads"], shapes[1][0], shapes[3][1])


def summary_cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """The keys times the map, then the narrow weights; a third of qkv is read."""
    (batch, tokens, _), (narrow, dim), _, (_, rank) = shapes[:4]
    flops = 2 * batch * attributes["heads"] * rank * dim * (tokens + narrow)
    return Cost(flops, float_bytes(summary_shape(shapes, attributes), *shapes))


def rows_cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """The scores from sparse coefficients, and the attention over the kept keys."""
    (batch, tokens, _), (_, heads, narrow, rank) = shapes[:2]
    dim = attributes["dim"]
    row = narrow * (dim + rank) + tokens * min(rank, attributes["coef_topk"])
    row += 2 * dim * min(tokens, attributes["keep"])
    flops = 2 * batch * heads * tokens * row
    return Cost(flops, float_bytes(output_shape(shapes, attributes), *shapes))


def settled(inputs: Sequence[Array], attributes: Attributes) -> Array:
    """Which elements of SparseRows belong to a query whose choices are no near-ties."""
    qkv, *others = inputs
    alive = _alive(qkv, others[4:])
    if not chooses([qkv.shape], attributes):
        return np.ones(output_shape([qkv.shape], attributes), bool)
    clear = clear_choices([qkv, *others[:4]], alive, attributes)
    if attributes.get("prune_rows"):
        clear |= np.asarray(alive)[:, None] == 0  # these see nothing
    clear[:, :, 0] = True  # the class token chooses nothing
    return np.asarray(clear.transpose(0, 2, 1).repeat(attributes["dim"], axis=2))


def _halves(example: Example) -> tuple[Example, Example]:
    """A hard input of SparseAttention as one of either half."""
    qkv, wq, bq, wk, bk, proj_n, basis, *active = example.inputs
    first = Example(
        example.label,
        (qkv, wk, bk, proj_n, *active),
        {name: example.attributes[name] for name in HEADS},
    )
    low = summary(*first.inputs, **first.attributes).astype(np.float32)
    return first, Example(example.label, (qkv, low, wq, bq, basis, *active), example.attributes)


def _examples(whole: Operator, half: int) -> Callable[[np.random.Generator], list[Example]]:
    return lambda rng: [_halves(example)[half] for example in whole.examples(rng)]


def _summary(name: str, whole: Operator, *, active: bool) -> Operator:
    return Operator(
        name=name,
        inputs=("qkv", "wk", "bk", "proj_n", *(["active"] if active else [])),
        outputs=("low",),
        attributes=HEADS,
        body=body.HEAD
        + (body.MASKED if active else body.PLAIN)
        + body.low("k", active=active)
        + body.summary("low").rstrip(),
        reference=summary,
        output_shape=summary_shape,
        examples=_examples(whole, 0),
        cost=summary_cost,
        doc="the keys of SparseAttention through its low-rank map",
    )


def _rows(name: str, whole: Operator, *, active: bool) -> Operator:
    scores = body.INACTIVE if active else "  scores = Identity (found)\n"
    chosen = body.ROWS + body.attend("chosen_keys") if active else body.attend("kept")
    return Operator(
        name=name,
        inputs=("qkv", "low", "wq", "bq", "basis", *(["active"] if active else [])),
        outputs=("y",),
        attributes={**ATTRIBUTES, "prune_rows": "int"} if active else ATTRIBUTES,
        body=body.HEAD
        + (body.MASKED if active else body.PLAIN)
        + body.low("q", active=active)
        + body.scores("basis", 0)
        + scores
        + body.kept("basis", 1)
        + chosen,
        reference=rows,
        output_shape=output_shape,
        examples=_examples(whole, 1),
        cost=rows_cost,
        doc="the rows of SparseAttention, from the summary of its keys",
        discontinuous=Choosing(chooses, settled),
    )


SPARSE_SUMMARY = _summary("SparseSummary", SPARSE_ATTENTION, active=False)
SPARSE_ROWS = _rows("SparseRows", SPARSE_ATTENTION, active=False)
SPARSE_SUMMARY_ACTIVE = _summary("SparseSummaryActive", SPARSE_ATTENTION_ACTIVE, active=True)
SPARSE_ROWS_ACTIVE = _rows("SparseRowsActive", SPARSE_ATTENTION_ACTIVE, active=True)
