"""WindowAttention: MSA-Conv's attention (arXiv 2310.04134), one head over a window; channels last.

A pixel attends to the places of an odd window around it. Places outside the map have logit 0 and
value 0, but take their share of the softmax. The variants differ in inputs and attributes, because
the body of an ONNX function cannot ask whether one is there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops.base import Array, Attributes, Cost, Example, Operator, Shape, float_bytes
from attnc.compiler.ops.convolution import normal
from attnc.compiler.ops.reference import softmax
from attnc.compiler.ops.window_attention_body import body

#: (label, [batch, height, width, channels], kernel, dilations, shift, size of the logits)
HARD_WINDOWS = (
    ("pixel", (1, 1, 1, 5), (3, 3), (1, 1), 0, 1.0),
    ("small-map", (2, 2, 3, 20), (7, 5), (1, 1), 1, 1.0),
    ("k1", (1, 3, 4, 17), (1, 1), (1, 1), 0, 1.0),
    ("sharp", (1, 6, 10, 24), (3, 3), (1, 1), 2, 100.0),
    ("far-dilated", (1, 3, 4, 16), (3, 3), (5, 7), 3, 1.0),
    ("column", (2, 9, 7, 32), (5, 1), (2, 1), 0, 1.0),
    ("row", (1, 4, 35, 33), (1, 7), (1, 3), 5, 1.0),
    ("c3", (3, 5, 6, 3), (3, 3), (1, 1), 1, 1.0),
    ("equal", (1, 7, 9, 64), (5, 5), (2, 2), 4, 0.0),
    ("wide", (1, 9, 20, 48), (7, 7), (1, 1), 7, 3.0),
)
HARD_POOLS = ((1, 1), (2, 2), (3, 1), (4, 4), (5, 7), (2, 3), (4, 4), (1, 2), (2, 2), (4, 4))


def rolled(x: Array, shift: int) -> Array:
    """x [B,H,W,C], a quarter of the channels each rolled up, down, left and right."""
    ways = ((-shift, 1), (shift, 1), (-shift, 2), (shift, 2))
    groups = np.array_split(x, len(ways), axis=3)
    return np.concatenate(
        [np.roll(g, step, axis) for g, (step, axis) in zip(groups, ways, strict=True)], axis=3
    )


def seen(x: Array, kernel: Sequence[int], dilations: Sequence[int]) -> Array:
    """[B,H,W,kh*kw,C]: the window around each pixel of x [B,H,W,C], zeros outside."""
    height, width = x.shape[1:3]
    top, left = (d * (k - 1) // 2 for k, d in zip(kernel, dilations, strict=True))
    padded = np.pad(x, ((0, 0), (top, top), (left, left), (0, 0)))
    places = [
        padded[:, i * dilations[0] :, j * dilations[1] :][:, :height, :width]
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
    return np.stack(places, axis=3)


def pooled(x: Array, grid: Sequence[int]) -> Array:
    """[B,rows*columns,C]: adaptive averages; cell i spans i*size//n to the ceiling of the next."""
    for axis, cells in ((1, grid[0]), (2, grid[1])):
        size = x.shape[axis]
        spans = [(i * size // cells, -(-(i + 1) * size // cells)) for i in range(cells)]
        parts = [x.take(range(*span), axis).mean(axis, keepdims=True) for span in spans]
        x = np.concatenate(parts, axis)
    return x.reshape(x.shape[0], -1, x.shape[3])


def reference(qkv: Array, x: Array | None = None, **attributes: object) -> Array:
    """Float64 WindowAttention, any variant."""
    found: Attributes = attributes
    q, k, v = np.split(np.asarray(qkv, np.float64), 3, axis=3)
    window = (found["kernel_shape"], found["dilations"])
    keys, values = (seen(rolled(t, found["shift"]), *window) for t in (k, v))
    if "grid" in found:
        whole = (*q.shape[:3], -1, q.shape[3])
        grids = [pooled(t, found["grid"])[:, None, None] for t in (k, v)]
        far = [np.broadcast_to(g, (*q.shape[:3], *g.shape[3:])).reshape(whole) for g in grids]
        keys, values = np.concatenate([keys, far[0]], 3), np.concatenate([values, far[1]], 3)
    weights = softmax(found["scale"] * np.einsum("bhwc,bhwtc->bhwt", q, keys))
    out = np.einsum("bhwt,bhwtc->bhwc", weights, values)
    return np.asarray(out if x is None else out + x)


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,H,W,C] of qkv [B,H,W,3C]."""
    return (*shapes[0][:3], shapes[0][3] // 3)


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """Both products with every place of the window and of the grid."""
    out = output_shape(shapes, attributes)
    places = int(np.prod(attributes["kernel_shape"]) + np.prod(attributes.get("grid", (0,))))
    return Cost(4 * places * int(np.prod(out)), float_bytes(out, *shapes))


def _examples(rng: np.random.Generator, *, pool: bool, residual: bool) -> list[Example]:
    """One pixel, maps smaller than the window, dilation beyond the map, ties, sharp logits."""
    found = []
    for (label, sizes, kernel, dilations, shift, spread), grid in zip(
        HARD_WINDOWS, HARD_POOLS, strict=True
    ):
        *map_sizes, channels = sizes
        qkv = normal(rng, *map_sizes, 3 * channels)
        attributes = {
            "kernel_shape": kernel,
            "dilations": dilations,
            "shift": shift,
            "scale": spread * channels**-0.5,
        }
        if pool:
            attributes["grid"] = grid
        inputs = (qkv, normal(rng, *sizes)) if residual else (qkv,)
        found.append(Example(label, inputs, attributes))
    return found


def _variant(name: str, doc: str, *, pool: bool, residual: bool) -> Operator:
    attributes = {"kernel_shape": "ints", "dilations": "ints", "shift": "int", "scale": "float"}
    return Operator(
        name=name,
        inputs=("qkv", "x") if residual else ("qkv",),
        outputs=("y",),
        attributes={**attributes, "grid": "ints"} if pool else attributes,
        body=body(pool=pool, residual=residual),
        reference=reference,
        output_shape=output_shape,
        examples=lambda rng: _examples(rng, pool=pool, residual=residual),
        cost=cost,
        doc=doc,
    )


WINDOW_ATTENTION = _variant(
    "WindowAttention", "MSA-Conv's attention plus x (NHWC)", pool=False, residual=True
)
WINDOW_ATTENTION_BARE = _variant(
    "WindowAttentionBare", "MSA-Conv's attention (NHWC)", pool=False, residual=False
)
WINDOW_ATTENTION_POOLED = _variant(
    "WindowAttentionPooled",
    "MSA-Conv's attention with pooled keys, plus x (NHWC)",
    pool=True,
    residual=True,
)
WINDOW_ATTENTION_POOLED_BARE = _variant(
    "WindowAttentionPooledBare",
    "MSA-Conv's attention with pooled keys (NHWC)",
    pool=True,
    residual=False,
)
#: By (pooled keys, residual).
VARIANTS = {
    (False, True): WINDOW_ATTENTION,
    (False, False): WINDOW_ATTENTION_BARE,
    (True, True): WINDOW_ATTENTION_POOLED,
    (True, False): WINDOW_ATTENTION_POOLED_BARE,
}
