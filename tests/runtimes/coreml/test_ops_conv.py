"""Convolutions of MIL against loops over output positions and kernel taps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mil_formulas import convolution, paddings, transposed_convolution
from mil_programs import Array, Case, cases, check, mb, numbers

draw = numbers(11)


def conv(
    x: Array, weight: Array, bias: Array | None = None, *, target: str = "iOS16", **options: Any
) -> Case:
    """A convolution with the parameters of the MIL operation."""
    rank = x.ndim - 2
    stride = options.get("strides", [1] * rank)
    dilation = options.get("dilations", [1] * rank)
    kind = options["pad_type"]
    pad = np.reshape(options.get("pad", [0] * 2 * rank), (rank, 2)).tolist()
    if kind.startswith("same"):
        reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
        pad = paddings(kind, x.shape[2:], reach, stride)
    return Case(
        "conv",
        lambda x: mb.conv(x=x, weight=weight, bias=bias, **options),
        lambda x: convolution(
            x,
            weight,
            bias=bias,
            stride=stride,
            pad=pad,
            dilation=dilation,
            groups=options.get("groups", 1),
        ),
        (x,),
        target=target,
        label=f"{kind}-{'x'.join(map(str, weight.shape))}-{options.get('groups', 1)}",
    )


def transposed(
    x: Array, weight: Array, bias: Array | None = None, *, crop: list[int], **options: Any
) -> Case:
    """A transposed convolution; `crop` is what has to fall away before and after each side."""
    rank = x.ndim - 2

    def expected(x: Array) -> Array:
        whole = transposed_convolution(
            x,
            weight,
            bias=bias,
            stride=options.get("strides", [1] * rank),
            dilation=options.get("dilations", [1] * rank),
            groups=options.get("groups", 1),
        )
        inner = [slice(crop[2 * d], whole.shape[2 + d] - crop[2 * d + 1]) for d in range(rank)]
        return whole[(..., *inner)]

    return Case(
        "conv_transpose",
        lambda x: mb.conv_transpose(x=x, weight=weight, bias=bias, **options),
        expected,
        (x,),
        label=f"{options['pad_type']}-{'x'.join(map(str, weight.shape))}",
    )


CONVOLUTIONS = [
    conv(draw(2, 3, 7, 9), draw(4, 3, 3, 2), pad_type="valid"),
    conv(draw(1, 3, 7, 9), draw(4, 3, 3, 3), draw(4), pad_type="custom", pad=[1, 2, 0, 3]),
    conv(draw(1, 3, 8, 7), draw(4, 3, 3, 3), draw(4), pad_type="same", strides=[2, 2]),
    conv(draw(1, 2, 8, 8), draw(3, 2, 4, 2), pad_type="same", strides=[2, 1]),
    conv(draw(1, 2, 8, 8), draw(3, 2, 4, 2), pad_type="same_lower", strides=[2, 1]),
    conv(draw(1, 2, 9, 9), draw(3, 2, 3, 3), pad_type="same", dilations=[2, 3]),
    conv(draw(1, 6, 6, 5), draw(6, 1, 3, 3), draw(6), pad_type="same", groups=6),
    conv(draw(1, 6, 6, 5), draw(9, 2, 3, 3), pad_type="valid", groups=3, strides=[2, 2]),
    conv(draw(2, 3, 11), draw(5, 3, 4), draw(5), pad_type="custom", pad=[2, 1], strides=[3]),
    conv(draw(1, 2, 4, 5, 3), draw(3, 2, 2, 3, 2), pad_type="same", strides=[1, 2, 1]),
    conv(draw(1, 5, 4, 3), draw(7, 5, 1, 1), draw(7), pad_type="valid", target="iOS17"),
    conv(draw(1, 4, 6, 6), draw(4, 2, 3, 3), pad_type="same", groups=2, target="iOS18"),
]

TRANSPOSED = [
    transposed(draw(2, 3, 4, 5), draw(3, 2, 3, 2), pad_type="valid", crop=[0] * 4),
    transposed(
        draw(1, 3, 4, 5), draw(3, 2, 3, 3), draw(2), pad_type="valid", strides=[2, 3], crop=[0] * 4
    ),
    transposed(
        draw(1, 3, 4, 5),
        draw(3, 2, 4, 4),
        draw(2),
        pad_type="custom",
        pad=[1, 1, 2, 0],
        strides=[2, 2],
        crop=[1, 1, 2, 0],
    ),
    transposed(
        draw(1, 4, 4, 3), draw(4, 3, 2, 2), pad_type="valid", groups=2, strides=[2, 2], crop=[0] * 4
    ),
    transposed(
        draw(1, 4, 4, 3),
        draw(4, 1, 3, 3),
        pad_type="valid",
        groups=4,
        dilations=[2, 1],
        crop=[0] * 4,
    ),
    transposed(draw(2, 3, 6), draw(3, 2, 3), draw(2), pad_type="valid", strides=[2], crop=[0, 0]),
    transposed(
        draw(1, 2, 3, 4, 2), draw(2, 3, 2, 2, 3), pad_type="valid", strides=[1, 2, 1], crop=[0] * 6
    ),
    transposed(draw(1, 3, 4, 5), draw(3, 2, 2, 2), pad_type="same", strides=[2, 2], crop=[0] * 4),
    transposed(draw(1, 2, 4, 5), draw(2, 3, 4, 4), pad_type="same", strides=[2, 2], crop=[1] * 4),
    transposed(
        draw(1, 2, 3, 3),
        draw(2, 3, 3, 3),
        pad_type="custom",
        pad=[1, 0, 1, 0],
        strides=[2, 2],
        output_shape=[1, 3, 6, 6],
        crop=[1, 0, 1, 0],
    ),
]

CASES = [*CONVOLUTIONS, *TRANSPOSED]


@cases(CASES)
def test_every_output_is_the_sum_over_the_kernel(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


def test_a_weight_may_be_computed(tmp_path: Path) -> None:
    case = Case(
        "conv",
        lambda x, w: mb.conv(x=x, weight=w, pad_type="valid", strides=[1, 2]),
        lambda x, w: convolution(x, w, stride=[1, 2], pad=[(0, 0)] * 2, dilation=[1, 1]),
        (draw(1, 3, 5, 6), draw(2, 3, 2, 3)),
    )
    check(case, tmp_path)


def test_padding_is_what_the_documentation_says() -> None:
    assert paddings("same", [8], [3], [2]) == [(0, 1)]
    assert paddings("same_lower", [8], [3], [2]) == [(1, 0)]
    assert paddings("same", [7], [3], [2]) == [(1, 1)]
