"""The attention of MIL, one query at a time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from mil_programs import Array, Case, cases, check, mb, numbers

draw = numbers(141)


def attended(query: Array, key: Array, value: Array, extra: Array) -> Array:
    """[*, L, EV]: every query's average of the values, `extra` [*, L, S] added to its scores."""
    result = np.zeros((*query.shape[:-1], value.shape[-1]))
    for place in np.ndindex(*query.shape[:-1]):
        batch = place[:-1]
        scores = [float(query[place] @ k) / math.sqrt(query.shape[-1]) for k in key[batch]]
        shares = [math.exp(s + e) for s, e in zip(scores, extra[place], strict=True)]
        total = sum(share * v for share, v in zip(shares, value[batch], strict=True))
        result[place] = total / sum(shares)
    return result


def attention(shape: tuple[int, ...], keys: int, width: int, mask: Array | None = None) -> Case:
    """Attention of `shape` [*, L, E] over a number of keys and values of a width."""
    rest = shape[:-2]
    inputs = (draw(*shape), draw(*rest, keys, shape[-1]), draw(*rest, keys, width))

    def expected(query: Array, key: Array, value: Array, *masks: Array) -> Array:
        extra = np.zeros(())
        if masks:
            holds = masks[0].dtype == np.bool_
            extra = np.where(masks[0], 0.0, -np.inf) if holds else masks[0]
        return attended(query, key, value, np.broadcast_to(extra, (*shape[:-1], keys)))

    def build(query: object, key: object, value: object, *masks: object) -> object:
        more = {"attn_mask": masks[0]} if masks else {}
        return mb.scaled_dot_product_attention(query=query, key=key, value=value, **more)

    return Case(
        "scaled_dot_product_attention",
        build,
        expected,
        (*inputs, mask) if mask is not None else inputs,
        target="iOS18",
        label=f"mask-{mask.dtype}" if mask is not None else "",
    )


ALLOWED = np.tri(4, 6, 1, dtype=bool)

CASES = [
    attention((2, 3, 4, 5), 6, 5),
    attention((2, 4, 5), 6, 3),
    attention((2, 3, 4, 5), 6, 7, ALLOWED),
    attention((2, 3, 4, 5), 6, 5, draw(2, 1, 4, 6)),
    attention((2, 3, 4, 5), 6, 5, draw(4, 6)),
]


@cases(CASES)
def test_every_query_averages_the_values(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
