"""What the queries of one SparseAttention choose from, in float64, and how clear their choice is.

Two choices follow each other: a few coefficients of a low-rank map make the scores of the keys,
and the best scored keys are kept. Rounding may turn either, so a key that flipped is a near-tie if
its score is near the cut, or if two coefficients are near theirs and weigh enough to move it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.ops.base import NO_MIN
from attnc.compiler.ops.reference import softmax
from attnc.compiler.ops.sparse_attention import largest, parts_of, scores_of, summary_of
from attnc.runtimes.proof.selection import NEAR

Array = NDArray[Any]
#: A key whose logit is so far below the largest has no weight in float32, kept or not.
UNSEEN = 80.0
WEIGHTS = 6  # inputs after qkv, before the mask of active tokens


@dataclass(frozen=True)
class Choice:
    """Of each query [B, heads, N] the keys that are kept and their scores, both [.., N]; `lead` and
    `coefficient_lead` [B, heads, N] are how far the cuts are clear, as shares of the row's largest;
    `reach` is how far scores move apart, as such a share, where two coefficients change places.

    `asks` tells which queries choose at all (not the class token's, nor those of pruned tokens),
    `unseen` the keys that show no weight even if they are kept, `active` [B, N] the tokens.
    """

    scores: Array
    kept: Array
    lead: Array
    coefficient_lead: Array
    reach: Array
    asks: Array
    unseen: Array
    active: Array
    keep: int
    threshold: float

    @property
    def margin(self) -> Array:
        """How near [B, heads, N] a query is to keeping another key, whichever cut is nearer."""
        turned = np.where(self.reach > self.lead, self.coefficient_lead, np.inf)
        return np.asarray(np.minimum(self.lead, turned))


def choice_of(inputs: Sequence[Array], attributes: Mapping[str, Any]) -> Choice:
    """From the inputs and attributes of SparseAttention or SparseAttentionActive."""
    qkv, wq, bq, wk, bk, proj_n, basis = (np.asarray(a, np.float64) for a in inputs[: WEIGHTS + 1])
    masked = len(inputs) > WEIGHTS + 1
    active = np.asarray(inputs[-1], np.float64) if masked else np.ones(qkv.shape[:2])
    q, k, _ = parts_of(qkv, active, attributes)
    low = summary_of(qkv, (wk, bk, proj_n), active, attributes)
    low_q = (q @ wq.T + bq) * active[:, None, :, None]
    coefficients = softmax(low_q @ low * attributes["coef_scale"])
    scores = scores_of(low_q, low, basis, attributes)
    scores = np.where(active[:, None, None] > 0, scores, NO_MIN)
    keep, threshold = int(attributes["keep"]), float(attributes["score_threshold"])
    count, least = int(attributes["coef_topk"]), float(attributes["coef_threshold"])
    weigh = _at_the_cut(coefficients, largest(coefficients, count, least))
    kept = largest(scores, keep, threshold)
    logits = np.where(kept, q @ k.swapaxes(2, 3) * attributes["scale"], NO_MIN)
    asks = np.broadcast_to(active[:, None] > 0, kept.shape[:3]).copy()
    asks[:, :, 0] = False
    return Choice(
        scores,
        kept,
        lead_of(scores, keep, threshold),
        lead_of(coefficients, count, least),
        2 * weigh * np.abs(basis).max() / scale_of(scores),
        asks,
        logits < logits.max(axis=-1, keepdims=True) - UNSEEN,
        active,
        keep,
        threshold,
    )


def lead_of(values: Array, count: int, threshold: float) -> Array:
    """How far the `count` largest above the threshold are apart from the rest, along the last axis,
    as a share of its largest magnitude; 1 where nothing can be left out."""
    lead = np.full(values.shape[:-1], np.inf)
    if count < values.shape[-1]:
        ranked = -np.sort(-values, axis=-1)
        lead = ranked[..., count - 1] - ranked[..., count]
    if threshold > NO_MIN:
        near = np.where(values > NO_MIN, np.abs(values - threshold), np.inf).min(axis=-1)
        lead = np.minimum(lead, near)
    return np.minimum(lead / scale_of(values), 1.0)


def scale_of(values: Array) -> Array:
    """The largest magnitude along the last axis, what shares are of; 1 where all are zero."""
    scale = np.abs(np.where(values > NO_MIN, values, 0.0)).max(axis=-1)
    return np.asarray(np.where(scale > 0, scale, 1.0))


def _at_the_cut(values: Array, chosen: Array) -> Array:
    """The lowest that is chosen and the highest that is not, added, along the last axis."""
    lowest = np.where(chosen, values, np.inf).min(axis=-1)
    highest = np.where(chosen, -np.inf, values).max(axis=-1)
    found = [np.where(np.isfinite(part), part, 0.0) for part in (lowest, highest)]
    return np.asarray(found[0] + found[1])


def gaps_of(source: Choice, kept: Array) -> Array:
    """Of each query that keeps other keys how far these are from the cut of the source, less what
    two near coefficients explain; zero where the keys are the same.

    `kept` is what someone else keeps, [B, heads, N, N]; a share of the row's largest score.
    """
    flipped = (kept != source.kept) & ~source.unseen & source.asks[..., None]
    scores = np.where(source.scores > NO_MIN, source.scores, -np.inf)
    lowest = np.where(source.kept, scores, np.inf).min(axis=-1, keepdims=True)
    highest = np.where(source.kept, -np.inf, scores).max(axis=-1, keepdims=True)
    full = source.kept.sum(axis=-1, keepdims=True) >= source.keep
    enter = np.where(full, np.maximum(lowest, source.threshold), source.threshold)
    leave = np.maximum(highest, source.threshold)
    with np.errstate(invalid="ignore"):
        far = np.where(source.kept, scores - leave, enter - scores)
    widest = np.where(flipped, far, 0.0).max(axis=-1) / scale_of(source.scores)
    excused = np.maximum(source.coefficient_lead, widest - source.reach)
    return np.asarray(np.minimum(widest, excused))


@dataclass(frozen=True)
class KeyAgreement:
    """One layer. `jaccard` is the mean index of the kept keys over all queries and heads, `heads`
    by head, `worst` of one query, in the bundle as it runs; `margin` is how near the nearest query
    is to keeping another key, as a share of its largest score, and `near` counts those within
    `NEAR`.

    `flipped` queries keep other keys in the bundle as it runs, `forced_flipped` where the layers
    before it keep what the source keeps; `gap` is how far these were from the cut at most, None
    where nothing flipped. `comparable` is false where other tokens had been pruned before.
    """

    layer: str
    keep: int
    queries: int
    jaccard: float
    heads: tuple[float, ...]
    worst: float
    margin: float
    near: int
    flipped: int
    forced_flipped: int
    gap: float | None
    comparable: bool = True

    @property
    def explained(self) -> bool:
        """Whether rounding explains every flip that no earlier layer does."""
        return self.gap is None or self.gap <= NEAR

    def as_json(self) -> dict[str, Any]:
        """The entry of the report."""
        return {**asdict(self), "near_tie": self.explained}


def agreement(layer: str, source: Choice, free: Array, forced: Array) -> KeyAgreement:
    """`free` and `forced` [B, heads, N, N] are what the bundle's kernel keeps on its own inputs,
    and on those that reach it where the earlier layers keep what the source keeps."""
    index = np.where(source.asks, _jaccard(source, free), np.nan)
    gaps, other = gaps_of(source, forced), _flipped(source, forced)
    asked, leads = index[source.asks], source.margin[source.asks]
    by_head = [head[np.isfinite(head)] for head in index.swapaxes(0, 1)]
    return KeyAgreement(
        layer,
        source.keep,
        asked.size,
        _mean(asked),
        tuple(map(_mean, by_head)),
        float(asked.min(initial=1.0)),
        float(leads.min(initial=1.0)),
        int((leads <= NEAR).sum()),
        int(_flipped(source, free).sum()),
        int(other.sum()),
        float(gaps[other].max()) if other.any() else None,
    )


def _mean(shares: Array) -> float:
    return float(shares.mean()) if shares.size else 1.0


def _flipped(source: Choice, kept: Array) -> Array:
    """Which queries keep other keys: [B, heads, N]."""
    return np.asarray(((kept != source.kept) & ~source.unseen).any(axis=-1) & source.asks)


def _jaccard(source: Choice, kept: Array) -> Array:
    seen = np.where(source.unseen, source.kept, kept)
    both = (seen & source.kept).sum(axis=-1)
    either = (seen | source.kept).sum(axis=-1)
    return np.asarray(np.where(either > 0, both / np.maximum(either, 1), 1.0))
