"""Hard inputs of SparseAttention, drawn so that no choice is a near-tie: exact ties, or none.

A choice that float32 rounding may turn is no test of an operator: it is drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attnc.compiler.ops.base import NO_MIN, Array, Example
from attnc.compiler.ops.convolution import normal
from attnc.compiler.ops.reference import softmax

#: label: batch, tokens, heads, dim, narrow, rank, coefficients, keys kept
HARD_SIZES = {
    "n2": (1, 2, 1, 16, 8, 1, 1, 1),
    "n1": (1, 1, 2, 8, 4, 1, 1, 1),
    "n37": (2, 37, 2, 64, 32, 6, 3, 10),
    "all-kept": (1, 19, 2, 32, 8, 8, 8, 19),
    "one-kept": (2, 24, 1, 24, 5, 4, 2, 1),
    "more-coefficients-than-rank": (1, 21, 2, 64, 32, 3, 8, 5),
    "dim80": (1, 33, 1, 80, 20, 17, 8, 12),
}
#: Smallest gap at a cut, relative to the row's largest value, that float32 cannot close.
LEAST_GAP = 1e-4


def examples(rng: np.random.Generator) -> list[Example]:
    """One and two tokens, all keys kept, one kept, odd sizes, thresholds, ties of all kinds."""
    found = [_distinct(rng, label, {}) for label in HARD_SIZES]
    for limits in (
        {"coef_topk": 99, "coef_threshold": 0.15},
        {"keep": 99, "score_threshold": 0.4},
        {"keep": 99, "score_threshold": 1e9},
    ):
        label = "-".join(f"{key}{value:g}" for key, value in limits.items() if value != 99)
        found.append(_distinct(rng, "n37", limits, label))
    return [*found, *_ties(rng)]


def examples_active(rng: np.random.Generator) -> list[Example]:
    """The same sizes with some tokens pruned, with and without their rows."""
    found = []
    for index, label in enumerate(("n37", "n2", "dim80", "one-kept")):
        example = _distinct(rng, label, {}, active=True)
        attributes = {**example.attributes, "prune_rows": index % 2}
        found.append(Example(f"{label}-rows{index % 2}", example.inputs, attributes))
    return found


def _attributes(label: str, changed: Mapping[str, float]) -> dict[str, Any]:
    _, _, heads, dim, _, _, coefficients, keep = HARD_SIZES[label]
    return {
        "heads": heads,
        "dim": dim,
        "coef_topk": coefficients,
        "coef_threshold": NO_MIN,
        "keep": keep,
        "score_threshold": NO_MIN,
        "scale": dim**-0.5,
        "coef_scale": heads**-0.5,
        **changed,
    }


def _draw(rng: np.random.Generator, label: str) -> list[Array]:
    batch, tokens, heads, dim, narrow, rank, _, _ = HARD_SIZES[label]
    basis = np.abs(normal(rng, rank, tokens))
    return [
        normal(rng, batch, tokens, 3 * heads * dim),
        normal(rng, narrow, dim, scale=dim**-0.5),
        normal(rng, narrow, scale=0.3),
        normal(rng, narrow, dim, scale=dim**-0.5),
        normal(rng, narrow, scale=0.3),
        normal(rng, tokens, rank, scale=0.5 * (tokens * narrow) ** -0.5),
        np.where(basis > 0.3, basis, 0).astype(np.float32),
    ]


def _distinct(
    rng: np.random.Generator,
    label: str,
    changed: Mapping[str, float],
    name: str = "",
    *,
    active: bool = False,
) -> Example:
    """Inputs whose every cut is clear; tokens are redrawn one image at a time."""
    attributes = _attributes(label, changed)
    inputs = _draw(rng, label)
    alive = _pruned(rng, inputs[0]) if active else np.ones(inputs[0].shape[:2], np.float32)
    while True:
        clear = clear_rows(inputs, alive, attributes)
        if clear.all():
            break
        inputs = _draw(rng, label)
    return Example(name or label, (*inputs, alive) if active else tuple(inputs), attributes)


def _pruned(rng: np.random.Generator, qkv: Array) -> Array:
    """About a third of the tokens inactive, never the class token."""
    alive = (rng.random(qkv.shape[:2]) > 0.3).astype(np.float32)
    alive[:, 0] = 1
    return alive


def _ties(rng: np.random.Generator) -> list[Example]:
    """Equal coefficients, equal scores, and fewer scores above zero than keys to keep."""
    label, found = "all-kept", []
    for name in ("equal-coefficients", "equal-scores", "few-scores"):
        inputs = _draw(rng, label)
        wk, bk, basis = inputs[3], inputs[4], inputs[6]
        if name != "few-scores":
            wk[:], bk[:] = 0, 0  # all logits zero: each coefficient is 1/8, exactly
            basis[:] = 0.5
        if name == "equal-coefficients":  # scores of the first four tell the columns apart
            basis[:4] = np.arange(basis.shape[1], dtype=np.float32) / 32
            basis[4:] = 31 - np.arange(basis.shape[1], dtype=np.float32)
        if name == "few-scores":
            basis[:, 3:] = 0
            basis[:, :3] = (0.25, 0.5, 1.0)
        coefficients = {"coef_topk": 4} if name == "equal-coefficients" else {}
        attributes = _attributes(label, {"keep": 7, **coefficients})
        found.append(Example(name, tuple(inputs), attributes))
    return found


def clear_rows(
    inputs: Sequence[Array],
    alive: Array,
    attributes: Mapping[str, Any],
    least_gap: float = LEAST_GAP,
) -> Array:
    """[B, heads, N]: whether no choice of that row is within `least_gap` of another one."""
    qkv, wq, bq, wk, bk, proj_n, basis = (np.asarray(array, np.float64) for array in inputs)
    active = np.asarray(alive, np.float64)[:, None, :, None]
    keys = heads_of(qkv, attributes)[1] * active
    low = ((keys @ wk.T + bk) * active).swapaxes(2, 3) @ proj_n
    return clear_choices((qkv, low, wq, bq, basis), alive, attributes, least_gap)


def clear_choices(
    inputs: Sequence[Array],
    alive: Array,
    attributes: Mapping[str, Any],
    least_gap: float = LEAST_GAP,
) -> Array:
    """The same from the summary of the keys: qkv, low, wq, bq, basis."""
    qkv, low, wq, bq, basis = (np.asarray(array, np.float64) for array in inputs)
    active = np.asarray(alive, np.float64)[:, None, :, None]
    queries = heads_of(qkv, attributes)[0] * active
    logits = ((queries @ wq.T + bq) * active) @ low * attributes["coef_scale"]
    coefficients = softmax(logits)
    clear, chosen = _clear_cut(
        coefficients, attributes["coef_topk"], attributes["coef_threshold"], least_gap
    )
    clear |= active[..., 0] == 0  # their coefficients are all equal
    scores = np.where(chosen, coefficients, 0.0) @ basis
    scores = np.where(active.swapaxes(2, 3) > 0, scores, -1.0)
    others, _ = _clear_cut(scores, attributes["keep"], attributes["score_threshold"], least_gap)
    return clear & others


def heads_of(qkv: Array, attributes: Mapping[str, Any]) -> Array:
    """[3, B, heads, N, dim]"""
    heads, dim = int(attributes["heads"]), int(attributes["dim"])
    return qkv.reshape(*qkv.shape[:2], 3, heads, dim).transpose(2, 0, 3, 1, 4)


def _clear_cut(
    values: Array, count: int, threshold: float, least_gap: float
) -> tuple[Array, Array]:
    """Which rows have a clear cut, and what lies above it."""
    ranked = -np.sort(-values, axis=-1)
    top = np.maximum(ranked[..., 0], 1e-30)
    clear = (np.abs(values - threshold) > least_gap * top[..., None]).all(axis=-1)
    if count < values.shape[-1]:
        gap = ranked[..., count - 1] - ranked[..., count]
        clear &= (gap > least_gap * top) | (ranked[..., count] < 0)
    order = np.argsort(-values, axis=-1, kind="stable")[..., :count]
    chosen = np.zeros(values.shape, bool)
    np.put_along_axis(chosen, order, True, axis=-1)
    return clear, chosen & (values > threshold)
