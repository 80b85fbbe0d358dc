"""SelectedAttention: Attention for the rows that a token selection keeps, and no others.

y = rows 0 and 1 + index of the Attention; with `fuse` last the sum of the rows 1 + j, weighted.
What follows row by row (a projection, a residual) then runs on those rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnc.compiler.ops import text
from attnc.compiler.ops.attention import HEADS, mixed_text, packed, weights_text
from attnc.compiler.ops.attention import reference as attention
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

#: (batch, tokens with the class token, kept, fused, heads, width)
HARD_SIZES = (
    (1, 2, 1, 0, 1, 4),
    (2, 30, 1, 1, 3, 20),
    (2, 30, 29, 0, 3, 20),
    (1, 60, 41, 1, 2, 64),
    (3, 33, 16, 0, 2, 32),
    (1, 27, 25, 1, 2, 9),
)


def reference(query: Array, memory: Array, index: Array, weights: Array, **a: Any) -> Array:
    """Float64 SelectedAttention."""
    whole = attention(query, memory, **{key: a[key] for key in HEADS})
    parts = [whole[:, :1], np.take_along_axis(whole, 1 + index[:, :, None], axis=1)]
    if a["fuse"]:
        parts.append(np.einsum("bj,bjc->bc", weights.astype(np.float64), whole[:, 1:])[:, None])
    return np.concatenate(parts, axis=1)


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B, 1 + K + fuse, heads * dim_v]"""
    rows = 1 + shapes[2][1] + attributes["fuse"]
    return (shapes[0][0], rows, attributes["heads"] * attributes["dim_v"])


def cost(shapes: Sequence[Shape], a: Attributes) -> Cost:
    """Both products for the kept rows; for a fused row the scores of all and one more product."""
    (batch, rows, _), (_, columns, _), (_, kept) = shapes[:3]
    scored = rows if a["fuse"] else 1 + kept
    products = scored * a["dim_qk"] + (1 + kept + a["fuse"]) * a["dim_v"]
    traffic = float_bytes(output_shape(shapes, a), *shapes, shapes[2])  # the index has 8 bytes
    return Cost(2 * batch * columns * a["heads"] * products, traffic)


def examples(rng: np.random.Generator) -> list[Example]:
    """One kept token, all of them, odd widths, weights that are zero on dropped tokens too."""
    found = []
    for batch, tokens, kept, fuse, heads, width in HARD_SIZES:
        a = {**packed(heads, width, width), "fuse": fuse}
        qkv = normal(rng, batch, tokens, 3 * heads * width)
        index = np.stack([rng.permutation(tokens - 1)[:kept] for _ in range(batch)])
        weights = np.abs(normal(rng, batch, tokens - 1, scale=1 / tokens))
        np.put_along_axis(weights, index, 0, axis=1)
        weights[:, ::7] = 0
        label = f"n{tokens}k{kept}{'f' if fuse else ''}"
        found.append(Example(label, (qkv, qkv, index.astype(np.int64), weights), a))
    return found


# Where nothing is fused, the second half runs on no rows at all: bodies cannot branch.
_BODY = (
    text.attribute_int("fuse", "fuse")
    + text.attribute_int("heads", "heads")
    + text.ints("one", 1)
    + text.ints("zero", 0)
    + text.ints("rows_axis", 1)
    + text.ints("last_axis", 2)
    + text.ints("all_rows", 2**40)
    + "  class_query = Slice (query, zero, one, rows_axis)\n"
    + "  patches = Slice (query, one, all_rows, rows_axis)\n"
    + "  places = Unsqueeze (index, last_axis)\n"
    + "  kept = GatherND <batch_dims: int = 1> (patches, places)\n"
    + "  taken = Mul (all_rows, fuse)\n"
    + "  others = Slice (patches, zero, taken, rows_axis)\n"
    + "  asked = Concat <axis: int = 1> (class_query, kept, others)\n"
    + weights_text("asked", "memory").removeprefix(text.attribute_int("heads", "heads"))
    + mixed_text("rows")
    + "  index_shape = Shape (index)\n"
    + "  kept_count = Slice (index_shape, one, last_axis, zero)\n"
    + "  own_count = Add (kept_count, one)\n"
    + "  own = Slice (rows, zero, own_count, rows_axis)\n"
    + "  dropped = Slice (rows, own_count, all_rows, rows_axis)\n"
    + "  some = Slice (weights, zero, taken, rows_axis)\n"
    + "  row = Unsqueeze (some, rows_axis)\n"
    + "  sum = MatMul (row, dropped)\n"
    + "  fused = Slice (sum, zero, fuse, rows_axis)\n"
    + "  y = Concat <axis: int = 1> (own, fused)"
)

SELECTED_ATTENTION = Operator(
    name="SelectedAttention",
    inputs=("query", "memory", "index", "weights"),
    outputs=("y",),
    attributes={**HEADS, "fuse": "int"},
    body=_BODY,
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="multi-head attention of the kept tokens' rows, and of the dropped ones' sum",
)
