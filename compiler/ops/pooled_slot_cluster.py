"""PooledSlotCluster: SlotCluster with the slots averaged from the map on the spot.

GLMix (arXiv 2411.14429) starts each block's slots as an 8 x 8 average of the map `m`, while the
tokens that they gather are normalised. One operator spares two products and a wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnc.compiler.ops import grid_pool, slot_cluster
from attnc.compiler.ops.base import Array, Attributes, Cost, Example, Operator, Shape
from attnc.compiler.ops.convolution import normal

SCALES = (12.0, 3.0, 5.0, 0.2, -40.0, 300.0, 2.0)


def output_shapes(shapes: Sequence[Shape], attributes: Attributes) -> tuple[Shape, ...]:
    """[B,L,C] and [B,H,W,C] to [B,S,C] and [B,L,S]."""
    slots = grid_pool.output_shape(shapes[1:], attributes)
    return slot_cluster.output_shapes([shapes[0], slots], attributes)


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """Both operators; the slots are neither written nor read."""
    slots = grid_pool.output_shape(shapes[1:], attributes)
    pool = grid_pool.cost(shapes[1:], attributes)
    cluster = slot_cluster.cost([shapes[0], slots], attributes)
    unwritten = 2 * 4 * int(np.prod(slots))
    return Cost(pool.flops + cluster.flops, pool.bytes + cluster.bytes - unwritten)


def reference(x: Array, m: Array, **attributes: Any) -> tuple[Array, Array]:
    """Float64 PooledSlotCluster."""
    slots = grid_pool.reference(m, grid=attributes["grid"])
    return slot_cluster.reference(x, slots, scale=attributes["scale"])


def examples(rng: np.random.Generator) -> list[Example]:
    """The hard maps of GridPool with as many tokens, some of them zero; sharp softmaxes."""
    found = []
    for example, scale in zip(grid_pool.examples(rng), SCALES, strict=True):
        (m,) = example.inputs
        x = normal(rng, m.shape[0], m.shape[1] * m.shape[2], m.shape[3])
        x[:, 3:4] = 0
        found.append(Example(example.label, (x, m), {**example.attributes, "scale": scale}))
    return found


POOLED_SLOT_CLUSTER = Operator(
    name="PooledSlotCluster",
    inputs=("x", "m"),
    outputs=("y", "logits"),
    attributes={"grid": "ints", "scale": "float"},
    body=grid_pool.pool_text("slots", "m") + slot_cluster.SLOT_CLUSTER.body,
    reference=reference,
    output_shape=output_shapes,
    examples=examples,
    cost=cost,
    doc="slots, averaged from a map, gather tokens by their cosine",
)
