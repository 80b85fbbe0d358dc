"""ConvTiles3Nhwc, ConvTiles4Nhwc: convolutions of stride one with a quarter of the products.

Minimal filtering (Winograd 1980; Lavin and Gray 2016) of 4x4 outputs: windows of up to 3x3 at 6x6
points, larger ones in parts of 4x4 taps at 7x7 points. The weights are stored at those points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnc.compiler.ops import text
from attnc.compiler.ops.base import Array, Attributes, Cost, Example, Operator, Shape, float_bytes
from attnc.compiler.ops.conv_nhwc import nhwc_shape
from attnc.compiler.ops.convolution import CLAMP, NO_CLAMP, RELU, normal, weights
from attnc.compiler.ops.fused_conv import FUSED_CONV
from attnc.compiler.ops.lowered import Form, Lowering, pick
from attnc.compiler.ops.packing import pack_matrix, pack_vector, unpack_matrix

OUT = 4  # outputs of a tile along an axis
LARGEST = 8  # taps along an axis
#: Below this many channels on either side the transforms cost what the products save.
LEAST_CHANNELS = 16
#: How many multiply-adds a core does while one weight comes from memory, and what must be won.
MACS_PER_WEIGHT, GAIN = 18, 0.85


@dataclass(frozen=True)
class Tiles:
    """Interpolation points of one kind of tile (infinity is the last, unnamed one)."""

    taps: int
    points: tuple[float, ...]

    @property
    def size(self) -> int:
        """Points, and pixels of an input tile, along an axis."""
        return len(self.points) + 1

    def parts(self, kernel: int) -> int:
        """Parts into which a window of this size is cut along an axis."""
        return -(-kernel // self.taps)

    def encode(self) -> Array:
        """[points, taps] that takes taps to their values at the points."""
        rows = []
        for i, x in enumerate(self.points):
            others = np.prod([x - y for j, y in enumerate(self.points) if j != i])
            rows.append([x**k / others for k in range(self.taps)])
        return np.array([*rows, [0.0] * (self.taps - 1) + [1.0]])

    def decode(self) -> Array:
        """[taps, points], the inverse."""
        return np.linalg.pinv(self.encode())


TILES3 = Tiles(3, (0.0, 1.0, -1.0, 0.5, -2.0))
TILES4 = Tiles(4, (0.0, 1.0, -1.0, 1.5, -2.0, -1 / 3))  # the small fractions that round least
_KEPT = ("kernel_shape", "pads", *CLAMP)


def _pack(tiles: Tiles, arrays: tuple[Array, ...], attributes: Attributes) -> Form:
    """(w [N,C,k,k], b [N]) to [points, panels, parts*parts*C, 16] and a padded bias."""
    w, b = arrays
    n, c, k, _ = w.shape
    parts, g = tiles.parts(k), tiles.encode()
    whole = np.zeros((n, c, parts * tiles.taps, parts * tiles.taps))
    whole[:, :, :k, :k] = w
    cut = whole.reshape(n, c, parts, tiles.taps, parts, tiles.taps)
    at = np.einsum("pa,qb,nciajb->pqijcn", g, g, cut, optimize=True).astype(np.float32)
    panels = np.stack([pack_matrix(m) for m in at.reshape(tiles.size**2, -1, n)])
    return (panels, pack_vector(b)), {"out_channels": n, **pick(attributes, *_KEPT)}


def _unpack(tiles: Tiles, packed: tuple[Array, ...], attributes: Attributes) -> Form:
    """Back to (w, b)."""
    n, k = attributes["out_channels"], attributes["kernel_shape"][0]
    parts, d = tiles.parts(k), tiles.decode()
    at = np.stack([unpack_matrix(m, n) for m in packed[0]]).astype(np.float64)
    at = at.reshape(tiles.size, tiles.size, parts, parts, -1, n)
    taps = np.einsum("ap,bq,pqijcn->nciajb", d, d, at, optimize=True)
    whole = taps.reshape(n, taps.shape[1], parts * tiles.taps, parts * tiles.taps)
    fixed = {"strides": (1, 1), "dilations": (1, 1), "group": 1}
    return (whole[:, :, :k, :k], packed[1][:n]), {**fixed, **pick(attributes, *_KEPT)}


def _fits(tiles: Tiles, shapes: Sequence[Shape], attributes: Attributes) -> bool:
    """Whether it is such a convolution, and the products saved outweigh the larger weights."""
    n, c, kh, kw = shapes[1]
    plain = all(tuple(attributes[name]) == (1, 1) for name in ("strides", "dilations")) and bool(
        attributes["group"] == 1
    )
    smallest = 3 if tiles is TILES3 else 6  # 5x5 gains too little for what it rounds
    if not plain or kh != kw or not smallest <= kh <= (3 if tiles is TILES3 else LARGEST):
        return False
    return min(n, c) >= LEAST_CHANNELS and _pays(tiles, shapes[0], attributes)


def _pays(tiles: Tiles, x: Shape, attributes: Attributes) -> bool:
    k = attributes["kernel_shape"][0]
    batch, _, height, width = x
    top, left, bottom, right = attributes["pads"]
    oh, ow = height + top + bottom - k + 1, width + left + right - k + 1
    if min(batch, oh, ow) < 1:
        return False
    count = batch * -(-oh // OUT) * -(-ow // OUT)
    each = (tiles.size * tiles.parts(k)) ** 2
    direct = k * k * (batch * oh * ow + MACS_PER_WEIGHT)
    return bool(each * (count + MACS_PER_WEIGHT) < GAIN * direct)


def _cost(tiles: Tiles, shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """The products that remain."""
    batch, height, width, n = nhwc_shape(shapes, {**attributes, "strides": (1, 1)})
    count = batch * -(-height // OUT) * -(-width // OUT)
    parts = tiles.parts(attributes["kernel_shape"][0])
    work = count * (tiles.size * parts) ** 2 * shapes[0][3] * n
    return Cost(2 * work, float_bytes((batch, height, width, n), *shapes))


def _body(tiles: Tiles) -> str:
    numbers = ", ".join(repr(float(np.float32(x))) for x in tiles.decode().reshape(-1))
    return (
        text.attribute_int("n", "out_channels")
        + "  k = Constant <value_ints: ints = @kernel_shape> ()\n"
        + text.ints("taps", tiles.taps, tiles.taps)
        + text.ints("more", tiles.taps - 1, tiles.taps - 1)
        + "  sum = Add (k, more)\n  parts = Div (sum, taps)\n  side = Mul (parts, taps)\n"
        + "  rows = Transpose <perm: ints = [0, 2, 1, 3]> (w)\n"
        + text.ints("flat", 0, 0, -1)
        + "  wide = Reshape (rows, flat)\n"
        + text.first("narrow", "wide", "n", 2)
        + text.ints("points", tiles.size, tiles.size)
        + text.ints("rest", -1)
        + "  grid = Concat <axis: int = 0> (points, parts, rest, n)\n"
        + "  at = Reshape (narrow, grid)\n"
        + f"  numbers = Constant <value_floats: floats = [{numbers}]> ()\n"
        + text.ints("matrix", tiles.taps, tiles.size)
        + "  d = Reshape (numbers, matrix)\n"
        + '  parted = Einsum <equation: string = "pqijcn,ap,bq->iajbcn"> (at, d, d)\n'
        + "  square = Concat <axis: int = 0> (side, rest, n)\n"
        + "  whole = Reshape (parted, square)\n"
        + text.ints("from", 0, 0)
        + text.ints("axes", 0, 1)
        + "  window = Slice (whole, from, k, axes)\n"
        + "  weight = Transpose <perm: ints = [3, 2, 0, 1]> (window)\n"
        + text.first("bias", "b", "n", 0)
        + text.to_nchw("map", "x")
        + "  c = Conv <kernel_shape: ints = @kernel_shape, pads: ints = @pads> "
        + "(map, weight, bias)\n"
        + text.clamp("clamped", "c")
        + text.to_nhwc("y", "clamped")
    )


#: (batch, height, width, channels in, channels out, kernel, pads)
_HARD3: tuple[tuple[Any, ...], ...] = (
    (1, 8, 8, 16, 16, 3, (1, 1, 1, 1)),
    (2, 7, 13, 19, 35, 3, (1, 1, 1, 1)),
    (1, 1, 1, 1, 1, 3, (1, 1, 1, 1)),
    (1, 9, 6, 5, 17, 3, (0, 2, 1, 0)),
    (1, 26, 30, 32, 20, 3, (1, 1, 1, 1)),
)
_HARD4: tuple[tuple[Any, ...], ...] = (
    (1, 28, 28, 24, 40, 7, (3, 3, 3, 3)),
    (2, 9, 6, 17, 5, 7, (3, 3, 3, 3)),
    (1, 5, 12, 8, 16, 5, (2, 2, 2, 2)),
    (1, 2, 3, 3, 33, 4, (2, 1, 1, 2)),
    (3, 10, 4, 16, 16, 8, (4, 3, 3, 4)),
)


def example(
    lowering: Lowering, rng: np.random.Generator, spec: tuple[Any, ...], clamp: Attributes
) -> Example:
    """A packed test input; `spec` is (batch, height, width, c, n, kernel, pads)."""
    b, h, w, c, n, k, pads = spec
    inputs = (normal(rng, b, c, h, w), weights(rng, n, c, k, k), normal(rng, n))
    window = {"kernel_shape": (k, k), "pads": pads, **clamp}
    return lowering.lower_example(Example(f"{k}x{k}-{h}x{w}-c{c}n{n}", inputs, window))


def _operator(name: str, tiles: Tiles, hard: tuple[tuple[Any, ...], ...]) -> Operator:
    lowering = _lowering(tiles)

    def examples(rng: np.random.Generator) -> list[Example]:
        return [
            example(lowering, rng, spec, (RELU, NO_CLAMP)[index % 2])
            for index, spec in enumerate(hard)
        ]

    return Operator(
        name=name,
        inputs=("x", "w", "b"),
        outputs=("y",),
        attributes={"out_channels": "int", "kernel_shape": "ints", "pads": "ints", **CLAMP},
        body=_body(tiles),
        reference=lowering.reference,
        output_shape=lambda shapes, attributes: nhwc_shape(
            shapes, {**attributes, "strides": (1, 1)}
        ),
        examples=examples,
        cost=lambda shapes, attributes: _cost(tiles, shapes, attributes),
        doc="stride-one convolution by minimal filtering; channels-last, transformed weights",
    )


def _lowering(tiles: Tiles) -> Lowering:
    return Lowering(
        FUSED_CONV,
        lambda arrays, attributes: _pack(tiles, arrays, attributes),
        lambda packed, attributes: _unpack(tiles, packed, attributes),
        accepts=lambda shapes, attributes: _fits(tiles, shapes, attributes),
    )


LOWERING3, LOWERING4 = _lowering(TILES3), _lowering(TILES4)
CONV_TILES3_NHWC = _operator("ConvTiles3Nhwc", TILES3, _HARD3)
CONV_TILES4_NHWC = _operator("ConvTiles4Nhwc", TILES4, _HARD4)
