"""Multi-head attention's and token selection's shapes for `make bench-kernels`: DeiT's and EViT's
token counts, the one query that the last block is left with, and GLMix's narrow heads.
"""

from __future__ import annotations

from collections.abc import Iterator

from attnc.tools.bench_tokens import Call

#: name: (queries, keys, heads, width of a head, tokens that a selection keeps or 0)
MODELS: dict[str, tuple[tuple[int, int, int, int, int], ...]] = {
    "heads_small": (
        (197, 197, 6, 64, 138),
        (577, 577, 6, 64, 404),
        (140, 140, 6, 64, 98),
        (100, 100, 6, 64, 70),
        (1, 197, 6, 64, 0),
    ),
    "heads_base": ((197, 197, 12, 64, 138), (577, 577, 12, 64, 0)),
    "heads_narrow": ((196, 196, 10, 32, 0), (49, 49, 16, 32, 0), (64, 64, 4, 32, 0)),
}


def attention(batch: int, queries: int, keys: int, heads: int, width: int) -> Call:
    """Both products; one packed value where there are as many queries as keys."""
    channels = heads * width
    wide = 3 * channels if queries == keys else channels
    pointers = (batch * queries * wide, batch * keys * 3 * channels, 0, 0)
    integers = (batch, queries, keys, wide, 3 * channels, heads, width, width)
    places = (0, channels, 2 * channels, 0, 0)
    label = f"{queries} on {keys}: {heads} heads of {width}"
    macs = 2 * batch * queries * keys * channels
    out = batch * queries * channels
    return "mha", label, (*pointers, out), (*integers, *places), (width**-0.5,), macs


def selected(batch: int, tokens: int, heads: int, width: int, keep: int) -> Call:
    """The rows that a selection keeps, and the weighted sum of the others as one more."""
    channels = heads * width
    wide = 3 * channels
    pointers = (batch * tokens * wide, batch * tokens * wide, 2 * batch * keep)
    pointers = (*pointers, batch * (tokens - 1), batch * (2 + keep) * channels)
    integers = (batch, tokens, tokens, wide, wide, heads, width, width)
    places = (0, channels, 2 * channels, keep, 1)
    label = f"{1 + keep} of {tokens}: {heads} heads of {width}"
    macs = batch * tokens * channels * (2 * (1 + keep) + tokens - 1)
    return "mha", label, pointers, (*integers, *places), (width**-0.5,), macs


def selection(batch: int, tokens: int, heads: int, width: int, keep: int) -> Call:
    """The class token's scores, the ranking, and the weighted sum of what is dropped."""
    channels = heads * width
    x, qkv = batch * tokens * channels, batch * tokens * 3 * channels
    out = batch * (2 + keep) * channels
    pointers = (x, qkv, qkv, channels, out, 2 * batch * keep, batch * tokens)
    integers = (batch, tokens, tokens, channels, 3 * channels, 3 * channels)
    places = (heads, width, 0, channels, keep, 1)
    label = f"{keep} of {tokens}: {heads} heads of {width}"
    macs = 2 * batch * tokens * channels
    return "select_tokens", label, pointers, (*integers, *places), (width**-0.5,), macs


def shapes_of(model: str, batch: int) -> Iterator[Call]:
    """The attention of each row, and its selection."""
    for queries, keys, heads, width, keep in MODELS[model]:
        yield attention(batch, queries, keys, heads, width)
        if keep:
            yield selected(batch, keys, heads, width, keep)
            yield selection(batch, keys, heads, width, keep)
