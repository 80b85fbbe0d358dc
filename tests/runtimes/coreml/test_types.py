"""The types of ML programs: packed integers, and shapes that fit a declared one."""

from __future__ import annotations

import numpy as np
import pytest

from attnc.runtimes.coreml.types import TensorType, unpack


@pytest.mark.parametrize(
    ("dtype", "data", "values"),
    [
        ("uint1", [0b01101], [1, 0, 1, 1, 0]),
        ("uint2", [0b00100111], [3, 1, 2, 0]),
        ("uint3", [0b01_010_110, 0b1], [6, 2, 5]),
        ("uint4", [0x1F, 0x08], [15, 1, 8]),
        ("uint6", [0b01_111110, 0b1010], [62, 41]),
        ("int4", [0x8F, 0x07], [-1, -8, 7]),
    ],
)
def test_packed_integers_start_at_the_lowest_bit(
    dtype: str, data: list[int], values: list[int]
) -> None:
    assert unpack(np.array(data, np.uint8), dtype, len(values)).tolist() == values


@pytest.mark.parametrize(
    ("declared", "shape", "fits"),
    [
        ((2, 3), (2, 3), True),
        ((2, 3), (3, 2), False),
        ((2, "?"), (2, 7), True),
        ((2, "?"), (2,), False),
        ((2,), (2, 1), False),
        (("...",), (4, 5, 6), True),
        ((), (), True),
    ],
)
def test_shapes_fit_where_every_known_size_is_the_same(
    declared: tuple[int | str, ...], shape: tuple[int, ...], fits: bool
) -> None:
    assert TensorType("fp32", declared).fits(shape) is fits
