"""SlotCluster: GLMix's soft clustering (arXiv 2411.14429): slots gather tokens by their cosine.

The logits come out as well, since SlotDispatch deals the slots out again by the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Example, Operator, Shape, float_bytes
from attnc.compiler.ops.convolution import normal
from attnc.compiler.ops.reference import softmax

#: Lengths below this count as this, so that a vector of zeros has cosine zero with all.
LEAST_LENGTH = 1e-12

#: (batch, tokens, slots, channels, learned slots, scale)
HARD_SIZES = (
    (2, 196, 64, 96, False, 12.0),
    (1, 1, 64, 33, False, 3.0),
    (2, 50, 1, 17, False, 5.0),
    (3, 300, 10, 48, True, 0.2),
    (1, 7, 5, 1, False, 2.0),
    (2, 65, 17, 64, True, 300.0),
    (1, 130, 64, 20, False, -40.0),
)


def output_shapes(shapes: Sequence[Shape], attributes: Attributes) -> tuple[Shape, ...]:
    """[B,L,C] and [B or 1,S,C] to [B,S,C] and [B,L,S]."""
    (batch, tokens, channels), (_, slots, _) = shapes
    return (batch, slots, channels), (batch, tokens, slots)


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """Two products of tokens by slots by channels."""
    (batch, tokens, channels), (_, slots, _) = shapes
    flops = 4 * batch * tokens * slots * channels
    return Cost(flops, float_bytes(*output_shapes(shapes, attributes), *shapes))


def direction(x: Array) -> Array:
    """x over its length along the last axis; zero vectors stay zero."""
    x = np.asarray(x, np.float64)
    length = np.sqrt((x * x).sum(axis=-1, keepdims=True))
    return np.asarray(x / np.maximum(length, LEAST_LENGTH))


def reference(x: Array, slots: Array, **attributes: float) -> tuple[Array, Array]:
    """Float64 SlotCluster."""
    x = np.asarray(x, np.float64)
    logits = attributes["scale"] * direction(x) @ direction(slots).transpose(0, 2, 1)
    weights = softmax(logits.transpose(0, 2, 1))
    return np.asarray(weights @ x), np.asarray(logits)


def examples(rng: np.random.Generator) -> list[Example]:
    """One token, one slot, one channel, learned slots, vectors of zeros, sharp softmaxes."""
    found = []
    for index, (batch, tokens, count, channels, learned, scale) in enumerate(HARD_SIZES):
        x = normal(rng, batch, tokens, channels, scale=30.0 if index == 3 else 1.0)
        slots = normal(rng, 1 if learned else batch, count, channels, scale=0.01)
        if tokens > 5:
            x[:, 3] = 0
            x[:, 4] = x[:, 5]
        if count > 3:
            slots[:, 2] = 0
        found.append(Example(f"l{tokens}s{count}c{channels}", (x, slots), {"scale": scale}))
    return found


def _direction(out: str, x: str) -> str:
    """Text that defines `out` as x over its length."""
    return (
        f"  {out}_length = ReduceL2 <keepdims: int = 1> ({x}, last)\n"
        + f"  {out}_safe = Max ({out}_length, least)\n"
        + f"  {out} = Div ({x}, {out}_safe)\n"
    )


_BODY = (
    text.ints("last", -1)
    + f"  least = Constant <value_float: float = {LEAST_LENGTH}> ()\n"
    + _direction("t", "x")
    + _direction("s", "slots")
    + "  turned = Transpose <perm: ints = [0, 2, 1]> (s)\n"
    + "  cosine = MatMul (t, turned)\n"
    + "  factor = Constant <value_float: float = @scale> ()\n"
    + "  logits = Mul (cosine, factor)\n"
    + "  weights = Softmax <axis: int = 1> (logits)\n"
    + "  per_slot = Transpose <perm: ints = [0, 2, 1]> (weights)\n"
    + "  y = MatMul (per_slot, x)"
)

SLOT_CLUSTER = Operator(
    name="SlotCluster",
    inputs=("x", "slots"),
    outputs=("y", "logits"),
    attributes={"scale": "float"},
    body=_BODY,
    reference=reference,
    output_shape=output_shapes,
    examples=examples,
    cost=cost,
    doc="slots gather tokens: softmax over the tokens of scaled cosines, times the tokens",
)
