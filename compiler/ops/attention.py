"""Attention: multi-head softmax attention on packed channels, the projections left outside.

q, k and v of all heads lie side by side in the last axis, as one linear layer writes them; only
the queries may come from another value, so that fewer rows can attend than are attended to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnc.compiler.ops import text
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
from attnc.compiler.ops.reference import softmax

HEADS = {
    "heads": "int",
    "dim_qk": "int",
    "dim_v": "int",
    "q_at": "int",
    "k_at": "int",
    "v_at": "int",
    "scale": "float",
}


def packed(heads: int, dim_qk: int, dim_v: int, scale: float | None = None) -> dict[str, Any]:
    """Attributes for channels in the order q, k, v."""
    width = heads * dim_qk
    places = {"q_at": 0, "k_at": width, "v_at": 2 * width}
    factor = dim_qk**-0.5 if scale is None else scale
    return {"heads": heads, "dim_qk": dim_qk, "dim_v": dim_v, **places, "scale": factor}


def heads_of(x: Array, at: int, heads: int, width: int) -> Array:
    """Float64 [B, heads, N, width] of the channels from `at` on."""
    batch, rows, _ = x.shape
    part = np.asarray(x[:, :, at : at + heads * width], np.float64)
    return part.reshape(batch, rows, heads, width).transpose(0, 2, 1, 3)


def probabilities(query: Array, memory: Array, a: Attributes) -> Array:
    """[B, heads, M, N]"""
    q = heads_of(query, a["q_at"], a["heads"], a["dim_qk"])
    k = heads_of(memory, a["k_at"], a["heads"], a["dim_qk"])
    return softmax(a["scale"] * (q @ k.transpose(0, 1, 3, 2)))


def reference(query: Array, memory: Array, **a: Any) -> Array:
    """Float64 Attention."""
    v = heads_of(memory, a["v_at"], a["heads"], a["dim_v"])
    out = probabilities(query, memory, a) @ v
    return np.asarray(out.transpose(0, 2, 1, 3).reshape(*query.shape[:2], -1))


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B, M, heads * dim_v]"""
    return (*shapes[0][:2], attributes["heads"] * attributes["dim_v"])


def cost(shapes: Sequence[Shape], a: Attributes) -> Cost:
    """Both products; the softmax is not counted."""
    (batch, rows, _), (_, columns, _) = shapes[:2]
    flops = 2 * batch * rows * columns * a["heads"] * (a["dim_qk"] + a["dim_v"])
    return Cost(flops, float_bytes(output_shape(shapes, a), *shapes))


#: (batch, queries (None: the packed value itself), keys, heads, width of q and k, width of v)
HARD_SIZES: tuple[tuple[int, int | None, int, int, int, int], ...] = (
    (1, None, 1, 3, 20, 20),
    (2, None, 50, 2, 64, 64),
    (1, 1, 37, 3, 64, 64),
    (2, 5, 33, 1, 9, 17),
    (1, None, 49, 4, 32, 32),
    (1, 30, 16, 2, 33, 5),
    (3, None, 29, 2, 8, 40),
)


def examples(rng: np.random.Generator) -> list[Example]:
    """One token, odd head widths, other queries, large logits, all scores alike."""
    found = []
    for batch, rows, columns, heads, dim_qk, dim_v in HARD_SIZES:
        a = packed(heads, dim_qk, dim_v)
        memory = normal(rng, batch, columns, heads * (2 * dim_qk + dim_v))
        query = memory if rows is None else normal(rng, batch, rows, heads * dim_qk + 3)
        found.append(Example(f"m{rows}n{columns}h{heads}d{dim_qk}v{dim_v}", (query, memory), a))
    large = normal(rng, 1, 21, 3 * 32, scale=8.0)
    found.append(Example("large_logits", (large, large), packed(2, 16, 16)))
    equal = np.repeat(normal(rng, 2, 1, 3 * 32), 19, axis=1)
    found.append(Example("equal_scores", (equal, equal), packed(2, 16, 16)))
    mixed = normal(rng, 1, 23, 70)
    other = {**packed(2, 8, 12, 0.7), "q_at": 40, "k_at": 1, "v_at": 17}
    found.append(Example("other_order", (mixed, mixed), other))
    return found


def cut(out: str, x: str, at: str, width: str, perm: str) -> str:
    """Channels of x from the attribute `at` on, as heads of `width`, their axes in order `perm`.

    Reads the attribute `heads` as the value `heads`.
    """
    return (
        text.attribute_int(f"{out}_from", at)
        + text.attribute_int(f"{out}_width", width)
        + f"  {out}_count = Mul (heads, {out}_width)\n"
        + f"  {out}_to = Add ({out}_from, {out}_count)\n"
        + text.ints(f"{out}_axis", 2)
        + f"  {out}_part = Slice ({x}, {out}_from, {out}_to, {out}_axis)\n"
        + text.ints(f"{out}_rows", 0, 0)
        + f"  {out}_shape = Concat <axis: int = 0> ({out}_rows, heads, {out}_width)\n"
        + f"  {out}_heads = Reshape ({out}_part, {out}_shape)\n"
        + f"  {out} = Transpose <perm: ints = [{perm}]> ({out}_heads)\n"
    )


def weights_text(query: str, memory: str) -> str:
    """Defines `heads` and the probabilities `p` [B, heads, M, N]."""
    return (
        text.attribute_int("heads", "heads")
        + cut("q", query, "q_at", "dim_qk", "0, 2, 1, 3")
        + cut("k", memory, "k_at", "dim_qk", "0, 2, 3, 1")
        + "  product = MatMul (q, k)\n"
        + "  factor = Constant <value_float: float = @scale> ()\n"
        + "  scores = Mul (product, factor)\n"
        + "  p = Softmax <axis: int = -1> (scores)\n"
    )


def mixed_text(out: str) -> str:
    """Defines `out` [B, M, heads * dim_v] from `p` and the values of `memory`."""
    return (
        cut("v", "memory", "v_at", "dim_v", "0, 2, 1, 3")
        + "  o = MatMul (p, v)\n"
        + "  o_rows = Transpose <perm: ints = [0, 2, 1, 3]> (o)\n"
        + "  o_shape = Concat <axis: int = 0> (v_rows, v_count)\n"
        + f"  {out} = Reshape (o_rows, o_shape)\n"
    )


ATTENTION = Operator(
    name="Attention",
    inputs=("query", "memory"),
    outputs=("y",),
    attributes=HEADS,
    body=weights_text("query", "memory") + mixed_text("y").rstrip(),
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="multi-head attention on packed channels [B,N,C]",
)
