"""Heads cut out of packed channels, and the attention over them.

Held channels first, [B, h*d, N], heads are [B,h,d,N] by a reshape alone, and the explicit products
need no transpose; the operator of iOS 18 wants [B,h,N,d].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.cuts import cut_axis
from attnc.targets.coreml.writer import sizes

FUSED_FROM = 18
#: Where the channels of each piece begin, its heads and their width.
Piece = tuple[int, int, int]


def cut(to: Forms, x: Any, pieces: Sequence[Piece], *, rows: bool = False) -> list[Any]:
    """[B,h,d,N] for each piece of x [B,C,...], or with `rows` [B,h,N,d]."""
    key = ("heads", x, tuple(pieces), rows)
    found: list[Any] = to.remember(key, lambda: _cut(to, x, pieces, rows))
    return found


def _cut(to: Forms, x: Any, pieces: Sequence[Piece], rows: bool) -> list[Any]:
    batch, channels, *plane = sizes(x)
    order = sorted(range(len(pieces)), key=lambda i: pieces[i][0])
    ends = [pieces[i][0] + pieces[i][1] * pieces[i][2] for i in order]
    begins = [pieces[i][0] for i in order]
    covers = begins == [0, *ends[:-1]] and ends[-1] == channels
    alike = len({piece[2] for piece in pieces}) == 1
    if not (covers and alike):
        return [_alone(to, x, piece, rows) for piece in pieces]
    each = pieces[0][2]
    packed = to.reshape(x, [batch, channels // each, each, math.prod(plane)])
    if rows:
        packed = to.emit("transpose", x=packed, perm=[0, 1, 3, 2])
    if len(pieces) == 1:
        return [packed]
    counts = [pieces[i][1] for i in order]
    parts = to.emit("split", x=packed, split_sizes=counts, axis=1)
    found = dict(zip(order, parts, strict=True))
    return [found[i] for i in range(len(pieces))]


def _alone(to: Forms, x: Any, piece: Piece, rows: bool) -> Any:
    """One piece, cut out of the channels before they become heads."""
    batch, channels, *plane = sizes(x)
    at, heads, each = piece
    if heads * each != channels:
        x = cut_axis(to, x, 1, at, at + heads * each)
    packed = to.reshape(x, [batch, heads, each, math.prod(plane)])
    return to.emit("transpose", x=packed, perm=[0, 1, 3, 2]) if rows else packed


def scaled(to: Forms, q: Any, factor: float) -> Any:
    """q times a number, unless that is one."""
    return q if math.isclose(factor, 1.0, rel_tol=1e-6) else to.emit("mul", x=q, y=float(factor))


def weights(to: Forms, q: Any, k: Any, scale: float) -> Any:
    """Softmax over N of the scores, [B,h,M,N]; q [B,h,d,M], k [B,h,d,N]."""
    scores = to.emit("matmul", x=scaled(to, q, scale), y=k, transpose_x=True, transpose_y=False)
    return to.emit("softmax", x=scores, axis=-1)


def attend(to: Forms, q: Any, k: Any, v: Any, scale: float) -> Any:
    """[B,h,d,M] by explicit products; q [B,h,e,M], k [B,h,e,N], v [B,h,d,N]."""
    share = weights(to, q, k, scale)
    return to.emit("matmul", x=v, y=share, transpose_x=False, transpose_y=True)


def attend_rows(to: Forms, q: Any, k: Any, v: Any, scale: float) -> Any:
    """[B,h,d,M] by the operator, which takes rows [B,h,.,d] and divides by the width's root."""
    q = scaled(to, q, scale * math.sqrt(sizes(q)[-1]))
    out = to.emit("scaled_dot_product_attention", query=q, key=k, value=v)
    return to.emit("transpose", x=out, perm=[0, 1, 3, 2])


def has_operator(to: Forms) -> bool:
    """Whether this iOS has scaled_dot_product_attention."""
    return to.emit.opset >= FUSED_FROM
