"""SelectTokens: EViT's token selection (arXiv 2202.07800): attentive tokens stay, others fuse.

Scores are the class token's attention to the other tokens, averaged over heads; equal scores rank
by place. The fused row of x and a bias is sum(s x) + (sum(s) - 1) b: what a linear layer makes of
the dropped rows' sum then adds up, bias included, to what it makes of the rows; plain if b is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnc.compiler.ops import text
from attnc.compiler.ops.attention import HEADS, packed, probabilities, weights_text
from attnc.compiler.ops.base import (
    Array,
    Attributes,
    Cost,
    Example,
    Operator,
    Shape,
    float_bytes,
)
from attnc.compiler.ops.convolution import normal

SCORES = {key: kind for key, kind in HEADS.items() if key not in ("dim_v", "v_at")}

#: (batch, tokens with the class token, channels, kept, fused, heads, width)
HARD_SIZES = (
    (1, 2, 5, 1, 0, 1, 4),
    (1, 2, 5, 1, 1, 1, 4),
    (2, 30, 24, 1, 1, 3, 20),
    (2, 30, 24, 29, 0, 3, 20),
    (1, 60, 130, 41, 1, 2, 64),
    (3, 33, 17, 16, 0, 2, 32),
    (1, 27, 33, 25, 1, 2, 9),
)


def reference(
    x: Array, query: Array, memory: Array, bias: Array, **a: Any
) -> tuple[Array, Array, Array]:
    """Float64 SelectTokens."""
    scores = probabilities(query[:, :1], memory, a)[:, :, 0, 1:].mean(axis=1)
    index = np.argsort(-scores, axis=1, kind="stable")[:, : a["keep"]]
    weights = scores.copy()
    np.put_along_axis(weights, index, 0, axis=1)
    x = np.asarray(x, np.float64)
    parts = [x[:, :1], np.take_along_axis(x, 1 + index[:, :, None], axis=1)]
    if a["fuse"]:
        fused = np.einsum("bj,bjc->bc", weights, x[:, 1:])
        fused += (weights.sum(axis=1, keepdims=True) - 1) * bias
        parts.append(fused[:, None])
    return np.concatenate(parts, axis=1), index.astype(np.int64), weights


def output_shape(shapes: Sequence[Shape], a: Attributes) -> tuple[Shape, ...]:
    """y [B, 1 + K + fuse, C], index [B, K], weights [B, N - 1]"""
    batch, tokens, channels = shapes[0]
    return (batch, 1 + a["keep"] + a["fuse"], channels), (batch, a["keep"]), (batch, tokens - 1)


def cost(shapes: Sequence[Shape], a: Attributes) -> Cost:
    """The class token's scores, and the weighted sum; every input is read once."""
    batch, tokens, channels = shapes[0]
    products = tokens * (a["heads"] * a["dim_qk"] + a["fuse"] * channels)
    return Cost(2 * batch * products, float_bytes(*output_shape(shapes, a), *shapes))


def _example(rng: np.random.Generator, label: str, sizes: tuple[int, ...]) -> Example:
    batch, tokens, channels, keep, fuse, heads, width = sizes
    heads_only = packed(heads, width, width)
    a = {**{key: heads_only[key] for key in SCORES}, "keep": keep, "fuse": fuse}
    x, qkv = normal(rng, batch, tokens, channels), normal(rng, batch, tokens, 3 * heads * width)
    return Example(label, (x, qkv, qkv, normal(rng, channels)), a)


def examples(rng: np.random.Generator) -> list[Example]:
    """One patch, one kept, all kept, odd widths; ties at the cut, all scores alike."""
    found = [
        _example(rng, f"n{sizes[1]}k{sizes[3]}{'f' if sizes[4] else ''}", sizes)
        for sizes in HARD_SIZES
    ]
    ties = _example(rng, "ties", (2, 41, 19, 21, 1, 2, 16))
    ties.inputs[1][:, 1:] = ties.inputs[1][:, 1 + np.arange(40) // 8 % 3]
    equal = _example(rng, "equal_scores", (2, 41, 19, 21, 1, 2, 16))
    equal.inputs[1][:, 1:] = equal.inputs[1][:, 1:2]
    return [*found, ties, equal]


_BODY = (
    text.attribute_int("fuse", "fuse")
    + text.attribute_int("keep", "keep")
    + text.ints("one", 1)
    + text.ints("zero", 0)
    + text.ints("rows_axis", 1)
    + text.ints("last_axis", 2)
    + text.ints("last", 3)
    + text.ints("all", 2**40)
    + "  class_query = Slice (query, zero, one, rows_axis)\n"
    + weights_text("class_query", "memory")
    + "  patch_p = Slice (p, one, all, last)\n"
    + "  mean = ReduceMean <keepdims: int = 0> (patch_p, one)\n"
    + "  s = Squeeze (mean, one)\n"
    + "  best, index = TopK <axis: int = 1, largest: int = 1, sorted: int = 1> (s, keep)\n"
    + "  places = Shape (index)\n"
    + "  none = ConstantOfShape (places)\n"
    + "  weights = ScatterElements <axis: int = 1> (s, index, none)\n"
    + "  class_row = Slice (x, zero, one, rows_axis)\n"
    + "  patches = Slice (x, one, all, rows_axis)\n"
    + "  where = Unsqueeze (index, last_axis)\n"
    + "  kept = GatherND <batch_dims: int = 1> (patches, where)\n"
    + "  row = Unsqueeze (weights, rows_axis)\n"
    + "  sum = MatMul (row, patches)\n"
    + "  total = ReduceSum <keepdims: int = 1> (row, last_axis)\n"
    + "  unit = Constant <value_float: float = 1.0> ()\n"
    + "  rest = Sub (total, unit)\n"
    + "  shift = Mul (rest, bias)\n"
    + "  shifted = Add (sum, shift)\n"
    + "  fused = Slice (shifted, zero, fuse, rows_axis)\n"
    + "  y = Concat <axis: int = 1> (class_row, kept, fused)"
)

SELECT_TOKENS = Operator(
    name="SelectTokens",
    inputs=("x", "query", "memory", "bias"),
    outputs=("y", "index", "weights"),
    attributes={**SCORES, "keep": "int", "fuse": "int"},
    body=_BODY,
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="EViT's selection of attentive tokens, the others dropped or fused into one",
)
