"""Weights in fewer bits: columns are divided by what makes them fit, and lie in panels of 16.

Halves [K, N] become [ceil(N/16), K, 16] as before. Bytes become [ceil(N/16), ceil(K/4), 16, 4]:
four elements of a column side by side, as dot-product instructions take them.
"""

from __future__ import annotations

import numpy as np

from attnc.compiler.ops.base import Array
from attnc.compiler.ops.packing import PANEL, pack_matrix, pack_vector, unpack_matrix

#: Elements of a column that lie side by side.
GROUP = 4
MOST = 127.0


def pack_halves(matrix: Array) -> tuple[Array, Array]:
    """[K, N] to panels of float16 and the power of two [Np] that each column was divided by."""
    largest = np.abs(matrix).max(axis=0)
    _, exponent = np.frexp(np.where(largest > 0, largest, 1.0))
    scale = np.ldexp(np.float32(1), exponent - 1).astype(np.float32)
    panels = pack_matrix((matrix / scale).astype(np.float16))
    return panels, _column_factors(scale)


def unpack_halves(panels: Array, scale: Array, n: int) -> Array:
    """Back to [K, n] in float64."""
    return unpack_matrix(panels.astype(np.float64), n) * scale[:n].astype(np.float64)


def pack_bytes(matrix: Array) -> tuple[Array, Array]:
    """[K, N] to panels of int8 and the factor [Np] that each column was divided by."""
    k = matrix.shape[0]
    largest = np.abs(matrix).max(axis=0)
    scale = (np.where(largest > 0, largest, 1.0) / MOST).astype(np.float32)
    rounded = np.zeros((-(-k // GROUP) * GROUP, matrix.shape[1]), np.int8)
    rounded[:k] = np.clip(np.rint(matrix / scale), -MOST, MOST)
    panels = pack_matrix(rounded)
    grouped = panels.reshape(panels.shape[0], -1, GROUP, PANEL).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(grouped), _column_factors(scale)


def unpack_bytes(panels: Array, scale: Array, k: int, n: int) -> Array:
    """Back to [k, n] in float64."""
    flat = panels.transpose(0, 1, 3, 2).reshape(panels.shape[0], -1, PANEL)
    return unpack_matrix(flat.astype(np.float64), n)[:k] * scale[:n].astype(np.float64)


def _column_factors(scale: Array) -> Array:
    """Padded with ones: columns past the last are zeros times them."""
    padded = pack_vector(scale)
    padded[scale.size :] = 1.0
    return padded
