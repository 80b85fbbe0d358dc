"""MapSlotDispatchAdd: SlotDispatchAdd where the tokens are the pixels of a map, channels last.

What TensorRT keeps as a plugin: without a Reshape between the plugin and the turned map it turns
nothing over between GLMix's slots and the convolutions around them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops import slot_dispatch
from attnc.compiler.ops.base import Array, Attributes, Cost, Example, Operator, Shape
from attnc.compiler.ops.convolution import normal

#: Height and width of the map of each hard size of SlotDispatch.
PLANES = ((14, 14), (1, 1), (5, 10), (20, 15), (7, 1), (5, 13))


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """The shape of r [B,H,W,C]; logits are [B,H*W,S], slots [B,S,C]."""
    return shapes[2]


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """One product of tokens by slots by channels."""
    batch, height, width, channels = shapes[2]
    return slot_dispatch.cost([*shapes[:2], (batch, height * width, channels)], attributes)


def reference(logits: Array, slots: Array, r: Array, **attributes: object) -> Array:
    """Float64 MapSlotDispatchAdd."""
    return np.asarray(slot_dispatch.reference(logits, slots).reshape(r.shape) + r)


def examples(rng: np.random.Generator) -> list[Example]:
    """The hard inputs of SlotDispatch, with a residual."""
    found = []
    for example, plane in zip(slot_dispatch.examples(rng), PLANES, strict=True):
        logits, slots = example.inputs
        r = normal(rng, slots.shape[0], *plane, slots.shape[2])
        found.append(Example(example.label, (logits, slots, r), {}))
    return found


MAP_SLOT_DISPATCH_ADD = Operator(
    name="MapSlotDispatchAdd",
    inputs=("logits", "slots", "r"),
    outputs=("y",),
    attributes={},
    body="  weights = Softmax <axis: int = -1> (logits)\n"
    "  tokens = MatMul (weights, slots)\n"
    "  plane = Shape (r)\n"
    "  taken = Reshape (tokens, plane)\n"
    "  y = Add (taken, r)",
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="the pixels of a map take from the slots, plus the map (NHWC)",
)
