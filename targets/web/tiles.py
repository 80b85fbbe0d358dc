"""How a map is cut into tiles of queries that share their keys: places, as numbers.

Along an axis a tile has `tile` queries, `dilation` apart, and the keys that any of them sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from attnc.passes.graph import Array

SIDES = (1, 2, 3, 4, 5, 6, 7, 8)
#: Measured in Chromium, in nanoseconds: to gather a number (twice), to multiply-add one in both
#: products, to take the softmax of one. Products come in columns of 16.
GATHER, MULTIPLY, SOFTMAX, COLUMNS = 1.8, 0.098, 2.4, 16


@dataclass(frozen=True)
class Tiles:
    """Places [T,queries] and [T,keys] of tiles as rows and columns of the map, maybe outside it.

    `bias` [queries,keys] is 0 where a query sees a key; it is the same for all tiles.
    """

    queries: Array
    keys: Array
    bias: Array

    def inside(self, height: int, width: int) -> Array:
        """[T,keys]: 1 where a key is on the map, else 0."""
        y, x = self.keys[..., 0], self.keys[..., 1]
        found = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        return found.astype(np.float32)

    def back(self, height: int, width: int) -> Array:
        """[H*W]: which of all queries, tile after tile, is a pixel."""
        flat = self.queries.reshape(-1, 2)
        there = (flat[:, 0] < height) & (flat[:, 1] < width)
        found = np.zeros(height * width, np.int64)
        found[flat[there, 0] * width + flat[there, 1]] = np.nonzero(there)[0]
        return found


def tiles(
    height: int, width: int, kernel: Sequence[int], dilations: Sequence[int], channels: int
) -> Tiles:
    """The cut that costs least."""
    sides = min(
        product(SIDES, SIDES),
        key=lambda pair: _cost((height, width), kernel, dilations, pair, channels),
    )
    axes = [
        _axis(size, *window)
        for size, *window in zip((height, width), kernel, dilations, sides, strict=True)
    ]
    return Tiles(
        _pairs(axes[0][0], axes[1][0]),
        _pairs(axes[0][1], axes[1][1]),
        _bias(sides, kernel).astype(np.float32),
    )


def _axis(size: int, kernel: int, dilation: int, tile: int) -> tuple[Array, Array]:
    """Places of queries [n,tile] and keys [n,tile+kernel-1] along one axis."""
    reach = (kernel - 1) // 2
    starts = [
        first + dilation * step
        for first in range(min(dilation, size))
        for step in range(0, -(-(size - first) // dilation), tile)
    ]
    begin = np.array(starts)[:, None]
    queries = begin + dilation * np.arange(tile)
    keys = begin + dilation * np.arange(-reach, tile + kernel - 1 - reach)
    return queries, keys


def _pairs(rows: Array, columns: Array) -> Array:
    """[tiles, places, 2] of [n,r] and [m,c]."""
    y = rows[:, None, :, None] + 0 * columns[None, :, None, :]
    x = columns[None, :, None, :] + 0 * rows[:, None, :, None]
    return np.stack([y, x], axis=-1).reshape(len(rows) * len(columns), -1, 2)


def _bias(sides: Sequence[int], kernel: Sequence[int]) -> Array:
    seen = []
    for tile, size in zip(sides, kernel, strict=True):
        offset = np.arange(tile + size - 1)[None, :] - np.arange(tile)[:, None]
        seen.append((offset >= 0) & (offset < size))
    both = seen[0][:, None, :, None] & seen[1][None, :, None, :]
    queries, keys = sides[0] * sides[1], seen[0].shape[1] * seen[1].shape[1]
    return np.where(both.reshape(queries, keys), 0.0, HIDDEN)


def _cost(
    sizes: Sequence[int],
    kernel: Sequence[int],
    dilations: Sequence[int],
    sides: Sequence[int],
    channels: int,
) -> float:
    count, queries, keys = 1, 1, 1
    for size, reach, dilation, side in zip(sizes, kernel, dilations, sides, strict=True):
        count *= len(_axis(size, reach, dilation, side)[0])
        queries *= side
        keys *= side + reach - 1
    columns = -(-keys // COLUMNS) * COLUMNS
    gathered, multiplied = keys * channels, queries * columns * channels
    return count * (GATHER * gathered + MULTIPLY * multiplied + SOFTMAX * queries * keys)


#: The logit of what a query does not see.
HIDDEN = -1e30
