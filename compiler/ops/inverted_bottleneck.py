"""InvertedBottleneck: expand, depthwise, squeeze-and-excite, project (SHViT's patch merging).

y = conv1x1(SE(clamp(depthwise(clamp(conv1x1(x)))))), NCHW, no residual.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    size,
)
from attnc.compiler.ops.convolution import CLAMP, RELU, RELU6, clamped, normal, spatial, weights
from attnc.compiler.ops.reference import conv2d
from attnc.compiler.ops.squeeze_excite import GATE, gate

#: (batch, height, width, channels, hidden, reduced, out channels, strides)
HARD_SIZES = (
    (1, 14, 14, 32, 128, 32, 48, (2, 2)),
    (2, 7, 7, 20, 80, 24, 33, (2, 2)),
    (1, 1, 1, 3, 5, 2, 7, (2, 2)),
    (1, 5, 9, 17, 66, 8, 50, (2, 1)),
    (1, 6, 4, 16, 64, 16, 16, (1, 1)),
)


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,C,H,W] to [B,N,OH,OW], N from w3."""
    batch, _, height, width = shapes[0]
    return (batch, shapes[9][0], *spatial(height, width, attributes))


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """Expansion at full size, depthwise, gate and projection at the strided size."""
    out = output_shape(shapes, attributes)
    batch, _, height, width = shapes[0]
    pixels = batch * out[2] * out[3]
    work = batch * height * width * size(shapes[1]) + pixels * (size(shapes[3]) + size(shapes[9]))
    work += batch * (size(shapes[5]) + size(shapes[7]))
    return Cost(2 * work, float_bytes(out, *shapes))


def reference(*inputs: Array, **attributes: object) -> Array:
    """Float64 InvertedBottleneck."""
    x, w1, b1, wd, bd, s1, c1, s2, c2, w3, b3 = inputs
    strides, pads = attributes["strides"], attributes["pads"]
    hidden = clamped(conv2d(x, w1, b1), attributes)
    mixed = conv2d(hidden, wd, bd, strides=strides, pads=pads, group=wd.shape[0])  # type: ignore[arg-type]
    mixed = clamped(mixed, attributes)
    return conv2d(mixed * gate(mixed, s1, c1, s2, c2), w3, b3)


def examples(rng: np.random.Generator) -> list[Example]:
    """Odd maps and widths, one pixel, uneven strides."""
    found = []
    for index, (batch, height, width, cin, hidden, reduced, cout, strides) in enumerate(HARD_SIZES):
        inputs = (
            normal(rng, batch, cin, height, width),
            weights(rng, hidden, cin, 1, 1),
            normal(rng, hidden),
            weights(rng, hidden, 1, 3, 3),
            normal(rng, hidden),
            weights(rng, reduced, hidden, 1, 1),
            normal(rng, reduced),
            weights(rng, hidden, reduced, 1, 1),
            normal(rng, hidden),
            weights(rng, cout, hidden, 1, 1),
            normal(rng, cout),
        )
        attributes = {"kernel_shape": (3, 3), "strides": strides, "pads": (1, 1, 1, 1)}
        clamp = (RELU, RELU6)[index % 2]
        found.append(Example(f"c{cin}h{hidden}", inputs, {**attributes, "group": hidden, **clamp}))
    return found


INVERTED_BOTTLENECK = Operator(
    name="InvertedBottleneck",
    inputs=("x", "w1", "b1", "wd", "bd", "s1", "c1", "s2", "c2", "w3", "b3"),
    outputs=("y",),
    attributes={"kernel_shape": "ints", "strides": "ints", "pads": "ints", "group": "int", **CLAMP},
    body=(
        "  e = Conv (x, w1, b1)\n"
        + text.clamp("h", "e")
        + "  d = Conv <kernel_shape: ints = @kernel_shape, strides: ints = @strides, "
        + "pads: ints = @pads, group: int = @group> (h, wd, bd)\n"
        + text.clamp("m", "d")
        + GATE.format(x="m", w1="s1", b1="c1", w2="s2", b2="c2")
        + "  g = Mul (m, gates)\n  y = Conv (g, w3, b3)"
    ),
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="expand, depthwise, squeeze-and-excite, project (NCHW)",
)
