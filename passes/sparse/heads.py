"""Checks that what meets in a multi-head attention are rows of one packed [B, N, channels] value.

Index tensors are compared (see views), so any chain of Reshape, Transpose, Split, Slice, Gather
that leads from the packed value to a head's rows looks the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.passes.graph import Refuse
from attnc.passes.movement import concrete_shape
from attnc.passes.views import View

Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Heads:
    """A value [B.., M, dim]: head h of row i is token `tokens[i]`, channels from `at + h*dim`."""

    source: ir.Value
    heads: int
    dim: int
    at: int
    tokens: Tokens
    scale: float


def heads_of(view: View, what: str, *, transposed: bool = False) -> Heads:
    """Reads a view of a packed value as heads; `transposed`: it is [.., dim, M]."""
    found = {batch: _read(view, batch, what, transposed) for batch in view.batches()}
    first = next(iter(found.values()))
    for other in found.values():
        if (other.heads, other.at) != (first.heads, first.at) or not np.array_equal(
            other.tokens, first.tokens
        ):
            raise Refuse(f"the map of {what} depends on the batch size")
    return first


def _read(view: View, batch: int, what: str, transposed: bool) -> Heads:
    sizes = concrete_shape(view.source, batch)
    indices = view.indices(batch)
    if len(sizes) != 3 or indices.ndim < 3:
        raise Refuse(f"{what} does not come from a value [batch, tokens, channels]")
    if transposed:
        indices = indices.swapaxes(-1, -2)
    rows, dim = indices.shape[-2:]
    indices = indices.reshape(batch, -1, rows, dim)
    heads, (_, length, channels) = indices.shape[1], sizes
    at = int(indices[0, 0, 0, 0] % channels)
    tokens = indices[0, 0, :, 0] // channels
    row = np.arange(batch)[:, None] * length + tokens[None]
    channel = at + np.arange(heads * dim).reshape(heads, dim)
    expected = row[:, None, :, None] * channels + channel[None, :, None, :]
    if not np.array_equal(indices, expected):
        raise Refuse(f"{what} is not made of heads that lie one after the other in one value")
    return Heads(view.source, heads, dim, at, tokens, view.scale)


def taken_rows(view: View, what: str) -> Tokens:
    """Which rows of its source [.., M, K] a view takes, all columns; refuses anything else."""
    batch = view.batches()[0]
    sizes, indices = concrete_shape(view.source, batch), view.indices(batch)
    if indices.ndim < 2 or indices.shape[-1] != sizes[-1]:
        raise Refuse(f"{what} is rearranged")
    columns = sizes[-1]
    taken = indices.reshape(-1, *indices.shape[-2:])
    rows = taken[0, :, 0] // columns
    whole = np.arange(int(np.prod(sizes))).reshape(-1, *sizes[-2:])
    if (len(rows) and rows.max() >= sizes[-2]) or not np.array_equal(taken, whole[:, rows]):
        raise Refuse(f"{what} is rearranged")
    return np.asarray(rows)


def is_transposed(view: View, what: str) -> bool:
    """Whether a view swaps the last two axes of its source; refuses if it does anything else."""
    batch = view.batches()[0]
    sizes, indices = concrete_shape(view.source, batch), view.indices(batch)
    whole = np.arange(int(np.prod(sizes))).reshape(-1, *sizes[-2:])
    taken = indices.reshape(-1, *indices.shape[-2:])
    if np.array_equal(taken, whole):
        return False
    if np.array_equal(taken, whole.swapaxes(1, 2)):
        return True
    raise Refuse(f"{what} is rearranged")
