"""SlotDispatch: GLMix's dealing out of the slots to the tokens (arXiv 2411.14429).

The logits are those of SlotCluster; here the softmax runs over the slots of each token.
SlotDispatchAdd adds a map of the same shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops.base import Array, Attributes, Cost, Example, Operator, Shape, float_bytes
from attnc.compiler.ops.convolution import normal
from attnc.compiler.ops.reference import softmax

#: (batch, tokens, slots, channels, spread of the logits)
HARD_SIZES = (
    (2, 196, 64, 96, 3.0),
    (1, 1, 64, 33, 1.0),
    (2, 50, 1, 17, 1.0),
    (3, 300, 10, 48, 0.0),
    (1, 7, 5, 1, 200.0),
    (2, 65, 17, 64, 40.0),
)


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,L,S] and [B,S,C] to [B,L,C]."""
    return shapes[0][0], shapes[0][1], shapes[1][2]


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """One product of tokens by slots by channels."""
    (batch, tokens, slots), (_, _, channels) = shapes[:2]
    flops = 2 * batch * tokens * slots * channels
    return Cost(flops, float_bytes(output_shape(shapes, attributes), *shapes))


def reference(logits: Array, slots: Array, *residual: Array, **attributes: object) -> Array:
    """Float64 SlotDispatch, and SlotDispatchAdd with a third array."""
    out = softmax(np.asarray(logits, np.float64)) @ np.asarray(slots, np.float64)
    return np.asarray(sum(residual, out))


def examples(rng: np.random.Generator) -> list[Example]:
    """One token, one slot, one channel, equal logits, sharp softmaxes."""
    return [
        Example(
            f"l{tokens}s{count}c{channels}",
            (
                normal(rng, batch, tokens, count, scale=spread),
                normal(rng, batch, count, channels),
            ),
            {},
        )
        for batch, tokens, count, channels, spread in HARD_SIZES
    ]


def add_examples(rng: np.random.Generator) -> list[Example]:
    """The same with a residual."""
    return [
        Example(found.label, (*found.inputs, normal(rng, *_result(found))), {})
        for found in examples(rng)
    ]


def _result(example: Example) -> Shape:
    return output_shape([array.shape for array in example.inputs], {})


_BODY = "  weights = Softmax <axis: int = -1> (logits)\n  {} = MatMul (weights, slots)"

SLOT_DISPATCH = Operator(
    name="SlotDispatch",
    inputs=("logits", "slots"),
    outputs=("y",),
    attributes={},
    body=_BODY.format("y"),
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="tokens take from the slots: softmax over the slots, times the slots",
)

SLOT_DISPATCH_ADD = Operator(
    name="SlotDispatchAdd",
    inputs=("logits", "slots", "r"),
    outputs=("y",),
    attributes={},
    body=_BODY.format("taken") + "\n  y = Add (taken, r)",
    reference=reference,
    output_shape=output_shape,
    examples=add_examples,
    cost=cost,
    doc="SlotDispatch and the add of a residual",
)
