"""The layout in which matrices lie in a bundle: panels of 16 columns.

A matrix [K, N] becomes [ceil(N/16), K, 16] with zeros in the columns past N: 16 columns are one
AVX-512 register, two AVX2 or four NEON ones, so one file serves every instruction set in place.
"""

from __future__ import annotations

import numpy as np

from attnc.compiler.ops.base import Array

PANEL = 16


def padded(n: int) -> int:
    """n rounded up to whole panels."""
    return -(-n // PANEL) * PANEL


def pack_matrix(matrix: Array) -> Array:
    """[K, N] to [ceil(N/16), K, 16]."""
    k, n = matrix.shape
    wide = np.zeros((k, padded(n)), matrix.dtype)
    wide[:, :n] = matrix
    return np.ascontiguousarray(wide.reshape(k, -1, PANEL).transpose(1, 0, 2))


def unpack_matrix(panels: Array, n: int) -> Array:
    """[P, K, 16] to [K, n]."""
    wide = panels.transpose(1, 0, 2).reshape(panels.shape[1], -1)
    return np.ascontiguousarray(wide[:, :n])


def pack_vector(vector: Array) -> Array:
    """[..., N] to [..., 16*ceil(N/16)], zeros at the end."""
    n = vector.shape[-1]
    out = np.zeros((*vector.shape[:-1], padded(n)), vector.dtype)
    out[..., :n] = vector
    return out


def pack_conv(weight: Array) -> Array:
    """[N,C,kh,kw] to panels over K = (kh, kw, c)."""
    return pack_matrix(weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0]))


def unpack_conv(panels: Array, n: int, kernel_shape: tuple[int, int]) -> Array:
    """Panels over K = (kh, kw, c) back to [n,C,kh,kw]."""
    kh, kw = kernel_shape
    return unpack_matrix(panels, n).reshape(kh, kw, -1, n).transpose(3, 2, 0, 1)


def pack_depthwise(weight: Array) -> Array:
    """[C,1,kh,kw] to [kh*kw, 16*ceil(C/16)]."""
    return pack_vector(np.ascontiguousarray(weight.reshape(weight.shape[0], -1).T))


def unpack_depthwise(packed: Array, channels: int, kernel_shape: tuple[int, int]) -> Array:
    """[kh*kw, Cp] back to [channels,1,kh,kw]."""
    return packed[:, :channels].T.reshape(channels, 1, *kernel_shape)
