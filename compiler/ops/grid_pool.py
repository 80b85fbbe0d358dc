"""GridPool: adaptive average pooling of a channels-last map to a fixed grid of tokens.

Cell i of n averages places floor(i*size/n) .. ceil((i+1)*size/n) - 1 of its axis: the windows
overlap where n does not divide the size, and repeat where n is the larger. (GLMix uses 8 x 8.)
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
from attnc.compiler.ops.convolution import normal

#: (batch, height, width, channels, rows, columns)
HARD_SIZES = (
    (1, 56, 56, 64, 8, 8),
    (2, 14, 14, 20, 8, 8),
    (1, 7, 7, 33, 8, 8),
    (1, 1, 1, 1, 8, 8),
    (3, 6, 5, 48, 1, 1),
    (2, 12, 7, 17, 5, 3),
    (1, 4, 9, 16, 4, 9),
)


def windows(places: int, cells: int) -> list[tuple[int, int]]:
    """First place and end of each cell's window."""
    return [(i * places // cells, -(-(i + 1) * places // cells)) for i in range(cells)]


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B,H,W,C] to [B,rows*columns,C]."""
    rows, columns = attributes["grid"]
    return shapes[0][0], int(rows) * int(columns), shapes[0][3]


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """One add per element of each window."""
    batch, height, width, channels = shapes[0]
    rows, columns = attributes["grid"]
    covered = [
        sum(end - begin for begin, end in windows(*axis))
        for axis in ((height, int(rows)), (width, int(columns)))
    ]
    out = output_shape(shapes, attributes)
    flops = batch * channels * covered[0] * covered[1] + size(out)
    return Cost(flops, float_bytes(out, *shapes))


def reference(x: Array, **attributes: Sequence[int]) -> Array:
    """Float64 GridPool."""
    rows, columns = (int(count) for count in attributes["grid"])
    x = np.asarray(x, np.float64)
    cells = [
        x[:, top:bottom, left:right].mean(axis=(1, 2))
        for top, bottom in windows(x.shape[1], rows)
        for left, right in windows(x.shape[2], columns)
    ]
    return np.stack(cells, axis=1)


def examples(rng: np.random.Generator) -> list[Example]:
    """Even and uneven windows, more cells than places, one place, one cell."""
    return [
        Example(
            f"{height}x{width}to{rows}x{columns}c{channels}",
            (normal(rng, batch, height, width, channels),),
            {"grid": [rows, columns]},
        )
        for batch, height, width, channels, rows, columns in HARD_SIZES
    ]


def _matrix(out: str, x: str, axis: int, place: int) -> str:
    """Text that defines `out` [cells, places], the averaging matrix of one axis of x."""
    return (
        text.ints(f"{out}_at", place)
        + f"  {out}_cells = Gather <axis: int = 0> (grid, {out}_at)\n"
        + f"  {out}_size = Shape <start: int = {axis}, end: int = {axis + 1}> ({x})\n"
        + f"  {out}_n = Squeeze ({out}_cells)\n  {out}_p = Squeeze ({out}_size)\n"
        + f"  {out}_cell = Range (none, {out}_n, once)\n"
        + f"  {out}_place = Range (none, {out}_p, once)\n"
        + f"  {out}_low = Mul ({out}_cell, {out}_size)\n"
        + f"  {out}_begin = Div ({out}_low, {out}_cells)\n"
        + f"  {out}_high = Add ({out}_low, {out}_size)\n"
        + f"  {out}_more = Add ({out}_high, {out}_cells)\n"
        + f"  {out}_last = Sub ({out}_more, once)\n"
        + f"  {out}_end = Div ({out}_last, {out}_cells)\n"
        + f"  {out}_b = Unsqueeze ({out}_begin, column)\n"
        + f"  {out}_e = Unsqueeze ({out}_end, column)\n"
        + f"  {out}_after = GreaterOrEqual ({out}_place, {out}_b)\n"
        + f"  {out}_before = Less ({out}_place, {out}_e)\n"
        + f"  {out}_inside = And ({out}_after, {out}_before)\n"
        + f"  {out}_ones = Cast <to: int = 1> ({out}_inside)\n"
        + f"  {out}_length = Sub ({out}_e, {out}_b)\n"
        + f"  {out}_count = Cast <to: int = 1> ({out}_length)\n"
        + f"  {out} = Div ({out}_ones, {out}_count)\n"
    )


def pool_text(out: str, x: str) -> str:
    """Text that defines `out` [B, rows * columns, C] of x [B,H,W,C]; reads the attribute `grid`."""
    return (
        "  grid = Constant <value_ints: ints = @grid> ()\n"
        + "  none = Constant <value_int: int = 0> ()\n"
        + "  once = Constant <value_int: int = 1> ()\n"
        + text.ints("column", 1)
        + _matrix("down", x, 1, 0)
        + _matrix("across", x, 2, 1)
        + text.ints("flat", 0, 0, -1)
        + f"  lines = Reshape ({x}, flat)\n"
        + "  pooled = MatMul (down, lines)\n"
        + text.ints("same", 0)
        + text.ints("all", -1)
        + f"  wide = Shape <start: int = 2> ({x})\n"
        + "  map = Concat <axis: int = 0> (same, all, wide)\n"
        + "  rows = Reshape (pooled, map)\n"
        + "  cells = MatMul (across, rows)\n"
        + f"  channels = Shape <start: int = 3> ({x})\n"
        + "  list = Concat <axis: int = 0> (same, all, channels)\n"
        + f"  {out} = Reshape (cells, list)\n"
    )


GRID_POOL = Operator(
    name="GridPool",
    inputs=("x",),
    outputs=("y",),
    attributes={"grid": "ints"},
    body=pool_text("y", "x").rstrip(),
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="adaptive average pooling of a channels-last map to rows x columns tokens",
)
