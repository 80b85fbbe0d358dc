"""MapAttention: what a plugin keeps of SHViT's SingleHeadAttention (arXiv 2401.16456, 3.2).

The norm, the projections and the residual stay outside, where a convolution library is at its
best; here the first dim_v channels attend with one head, the rest passes by, both are clamped.
Channels last: a pixel's channels lie together, as the kernel reads them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Example, Operator, Shape, float_bytes
from attnc.compiler.ops.convolution import CLAMP, NO_CLAMP, RELU, clamped, normal
from attnc.compiler.ops.reference import to_nchw, to_nhwc
from attnc.compiler.ops.single_head_attention import HARD_SIZES, attend


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """The shape of x."""
    return shapes[1]


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """Both attention products; the first dim_v channels of x are never read."""
    qkv, (batch, height, width, channels) = shapes
    tokens, dim_v = height * width, attributes["dim_v"]
    flops = 2 * batch * tokens * tokens * (attributes["dim_qk"] + dim_v)
    passing = (batch, height, width, channels - dim_v)
    return Cost(flops, float_bytes(shapes[1], qkv, passing))


def reference(qkv: Array, x: Array, **attributes: float) -> Array:
    """Float64 MapAttention."""
    dim_qk, dim_v = int(attributes["dim_qk"]), int(attributes["dim_v"])
    out = to_nhwc(attend(to_nchw(np.asarray(qkv, np.float64)), dim_qk, attributes["scale"]))
    passing = np.asarray(x[..., dim_v:], np.float64)
    return clamped(np.concatenate([out, passing], -1), attributes)


def examples(rng: np.random.Generator) -> list[Example]:
    """One token, odd widths, no untouched channels, large logits, equal tokens."""
    found = []
    for index, (batch, height, width, channels, dim_qk, dim_v) in enumerate(HARD_SIZES):
        qkv = normal(rng, batch, height, width, 2 * dim_qk + dim_v)
        if index == 1:
            qkv[..., : 2 * dim_qk] *= 6
        if index == 2:
            qkv[:] = qkv[:, :1, :1]
        x = normal(rng, batch, height, width, channels)
        clamp = NO_CLAMP if index in {3, 6} else RELU
        attributes = {"dim_qk": dim_qk, "dim_v": dim_v, "scale": dim_qk**-0.5, **clamp}
        found.append(Example(f"n{height * width}v{dim_v}", (qkv, x), attributes))
    return found


_BODY = (
    text.attribute_int("dv", "dim_v")
    + text.attribute_int("dqk", "dim_qk")
    + text.first("x1", "x", "dv", 3)
    + text.rest("x2", "x", "dv", 3)
    + text.ints("places", 0, -1)
    + "  width = Shape <start: int = 3> (qkv)\n"
    + "  flat = Concat <axis: int = 0> (places, width)\n"
    + "  rows = Reshape (qkv, flat)\n"
    + "  parts = Concat <axis: int = 0> (dqk, dqk, dv)\n"
    + "  q, k, v = Split <axis: int = 2> (rows, parts)\n"
    + "  kt = Transpose <perm: ints = [0, 2, 1]> (k)\n"
    + "  product = MatMul (q, kt)\n"
    + "  factor = Constant <value_float: float = @scale> ()\n"
    + "  scores = Mul (product, factor)\n"
    + "  probabilities = Softmax <axis: int = -1> (scores)\n"
    + "  o = MatMul (probabilities, v)\n"
    + "  map = Shape (x1)\n"
    + "  o4 = Reshape (o, map)\n"
    + "  joined = Concat <axis: int = 3> (o4, x2)\n"
    + text.clamp("y", "joined").rstrip()
)

MAP_ATTENTION = Operator(
    name="MapAttention",
    inputs=("qkv", "x"),
    outputs=("y",),
    attributes={"dim_qk": "int", "dim_v": "int", "scale": "float", **CLAMP},
    body=_BODY,
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="SHViT's attention over a map without its projections (NHWC)",
)
