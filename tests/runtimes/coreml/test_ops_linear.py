"""Matrix products of MIL against dot products written out."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from mil_programs import Array, Case, cases, check, integers, mb, numbers

draw = numbers(31)
whole = integers(32)


def product(x: Array, y: Array) -> Array:
    """NumPy-style batched product, one dot product per output."""
    left, right = np.atleast_2d(x), y if y.ndim > 1 else y[:, None]
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left = np.broadcast_to(left, batch + left.shape[-2:])
    right = np.broadcast_to(right, batch + right.shape[-2:])
    result = np.zeros((*batch, left.shape[-2], right.shape[-1]), np.result_type(x, y))
    for index in np.ndindex(*batch):
        for row, column in itertools.product(range(left.shape[-2]), range(right.shape[-1])):
            terms = zip(left[(*index, row)], right[(*index, slice(None), column)], strict=True)
            result[(*index, row, column)] = sum(a * b for a, b in terms)
    result = result[..., 0] if y.ndim == 1 else result
    return result if x.ndim > 1 else (result[..., 0] if y.ndim == 1 else result[..., 0, :])


def flipped(x: Array) -> Array:
    """The last two dimensions exchanged; a vector stays as it is."""
    return x if x.ndim == 1 else np.moveaxis(x, -1, -2)


def matmul(x: Array, y: Array, *, tx: bool = False, ty: bool = False) -> Case:
    """A product of two program inputs."""
    return Case(
        "matmul",
        lambda x, y: mb.matmul(x=x, y=y, transpose_x=tx, transpose_y=ty),
        lambda x, y: product(flipped(x) if tx else x, flipped(y) if ty else y),
        (x, y),
        label=f"{'t' if tx else 'n'}{'t' if ty else 'n'}-{x.dtype}",
    )


def linear(x: Array, weight: Array, bias: Array | None, target: str = "iOS16") -> Case:
    """A product with a constant matrix [out, in]."""
    given: dict[str, Any] = {} if bias is None else {"bias": bias}
    return Case(
        "linear",
        lambda x: mb.linear(x=x, weight=weight, **given),
        lambda x: (
            product(np.atleast_2d(x), weight.T.astype(np.float64)).reshape(
                *x.shape[:-1], len(weight)
            )
            + (0 if bias is None else bias)
        ),
        (x,),
        target=target,
        label="plain" if bias is None else "bias",
    )


def einsum(x: Array, y: Array, equation: str) -> Case:
    """The products over dimensions -1 and -3 that MIL knows as einsum."""

    def expected(x: Array, y: Array) -> Array:
        heads = max(x.shape[-2], y.shape[-2])
        columns = [
            product(x[..., min(h, x.shape[-2] - 1), :], y[..., min(h, y.shape[-2] - 1), :])
            for h in range(heads)
        ]
        return np.stack(columns, axis=-2)

    return Case(
        "einsum", lambda x, y: mb.einsum(values=(x, y), equation=equation), expected, (x, y)
    )


CASES = [
    matmul(draw(3, 4), draw(4, 5)),
    matmul(draw(2, 3, 4), draw(5, 4), ty=True),
    matmul(draw(2, 1, 4, 3), draw(3, 4, 2), tx=True),
    matmul(draw(5, 3), draw(2, 4, 5), tx=True, ty=True),
    matmul(whole(3, 4), whole(2, 4, 2)),
    linear(draw(2, 5, 4), draw(3, 4), draw(3)),
    linear(draw(5, 4), draw(3, 4), None),
    linear(draw(4), draw(3, 4), draw(3)),
    linear(draw(2, 5, 4), draw(3, 4), draw(3), target="iOS17"),
    einsum(draw(2, 3, 4, 5), draw(2, 5, 4, 6), "nchw,nwhu->nchu"),
    einsum(draw(2, 3, 1, 5), draw(1, 5, 4, 6), "nchw,nwhu->nchu"),
    einsum(draw(3, 4, 5), draw(5, 4, 2), "chw,whr->chr"),
    einsum(draw(3, 1, 5), draw(5, 4, 2), "abc,cbd->abd"),
]


@cases(CASES)
def test_every_output_is_a_dot_product(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
