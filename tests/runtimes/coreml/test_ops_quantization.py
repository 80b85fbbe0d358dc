"""Quantised values and compressed constants of MIL, against decompression by hand."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from mil_programs import (
    Array,
    Case,
    cases,
    check,
    integers,
    mb,
    numbers,
    types,
)

draw = numbers(161)
whole = integers(162)

X = draw(2, 3, 5)
SCALES = np.array([0.25, 0.5, 0.125], np.float32)


def quantize(scale: Any, zero: Any, dtype: type, axis: int | None) -> Case:
    """Rounded, shifted and clipped at the ends of the type."""
    limits = np.iinfo(dtype)
    given = {} if axis is None else {"axis": axis}
    given |= {} if zero is None else {"zero_point": zero}

    def expected(x: Array) -> Array:
        result = np.zeros(x.shape, np.int64)
        for place in np.ndindex(*x.shape):
            own = scale if axis is None else scale[place[axis]]
            shift = 0 if zero is None else zero if axis is None else zero[place[axis]]
            value = round(float(x[place]) / float(own)) + int(shift)
            result[place] = min(max(value, limits.min), limits.max)
        return result

    return Case(
        "quantize",
        lambda x: mb.quantize(input=x, scale=scale, output_dtype=np.dtype(dtype).name, **given),
        expected,
        (X * np.float32(20),),
        target="iOS17",
        label=f"{np.dtype(dtype)}-{axis}-{zero is None}",
    )


def dequantize(data: Array, scale: Any, zero: Any, axis: int | None) -> Case:
    """scale * (data - zero point)."""
    given = {} if axis is None else {"axis": axis}
    given |= {} if zero is None else {"zero_point": zero}

    def expected(x: Array) -> Array:
        result = np.zeros(x.shape)
        for place in np.ndindex(*x.shape):
            own = scale if axis is None else scale[place[axis]]
            shift = 0 if zero is None else zero if axis is None else zero[place[axis]]
            result[place] = float(own) * (int(x[place]) - int(shift))
        return result

    return Case(
        "dequantize",
        lambda x: mb.dequantize(input=x, scale=scale, **given),
        expected,
        (data,),
        target="iOS17",
        label=f"{data.dtype}-{axis}-{zero is None}",
    )


def constant(operation: str, wanted: Array, target: str = "iOS16", **parameters: Any) -> Case:
    """A compressed constant, added to an input of its shape."""
    return Case(
        operation,
        lambda x: mb.add(x=x, y=getattr(mb, operation)(**parameters)),
        lambda x: x + wanted,
        (draw(*wanted.shape),),
        target=target,
    )


def packed(values: list[int], bits: int) -> Array:
    """Unsigned numbers of `bits`, the first in the lowest bits of the first byte."""
    total = sum(value << (bits * place) for place, value in enumerate(values))
    return np.frombuffer(total.to_bytes(-(-bits * len(values) // 8), "little"), np.uint8)


def blockwise(data: Array, scale: Array, offset: Array | None = None) -> Array:
    """scale * (data - offset) by blocks."""
    result = np.zeros(data.shape)
    for place in np.ndindex(*data.shape):
        block = tuple(
            i * blocks // n for i, blocks, n in zip(place, scale.shape, data.shape, strict=True)
        )
        shift = 0.0 if offset is None else float(offset[block])
        result[place] = float(scale[block]) * (float(data[place]) - shift)
    return result


AFFINE = whole(3, 4, low=-128, high=128).astype(np.int8)
ZEROS = np.array([3, -7, 100], np.int8)
LUT16 = draw(16)
KEYS16 = whole(3, 5, low=0, high=16).ravel().tolist()
LUT64 = draw(64)
KEYS64 = whole(2, 5, low=0, high=64).ravel().tolist()
MASK = [1, 0, 0, 1, 1, 0, 1, 0, 0, 1]
VALUES = draw(5)
DENSE = np.array([VALUES[sum(MASK[:i])] if bit else 0 for i, bit in enumerate(MASK)])
INT4 = whole(4, 6, low=-8, high=8)
UINT4 = whole(4, 6, low=0, high=16)
BLOCKS = draw(2, 3, low=0.1, high=0.5)
OFFSETS = whole(2, 3, low=-3, high=4)

CASES = [
    quantize(np.float32(0.3), None, np.int8, None),
    quantize(np.float32(0.3), np.uint8(50), np.uint8, None),
    quantize(SCALES, ZEROS, np.int8, 1),
    dequantize(whole(2, 3, 5).astype(np.int8), np.float32(0.3), None, None),
    dequantize(whole(2, 3, low=0, high=255).astype(np.uint8), np.float32(0.3), np.uint8(9), None),
    dequantize(whole(2, 3, 4).astype(np.int8), SCALES, ZEROS, 1),
    constant(
        "constexpr_affine_dequantize",
        np.stack(
            [s * (row.astype(float) - z) for s, row, z in zip(SCALES, AFFINE, ZEROS, strict=True)]
        ),
        quantized_data=AFFINE,
        zero_point=ZEROS,
        scale=SCALES,
        axis=0,
    ),
    constant(
        "constexpr_affine_dequantize",
        0.3 * (AFFINE.view(np.uint8).astype(float) - 128),
        quantized_data=AFFINE.view(np.uint8),
        zero_point=np.uint8(128),
        scale=np.float32(0.3),
        axis=1,
    ),
    constant(
        "constexpr_lut_to_dense",
        np.array([LUT16[key] for key in KEYS16]).reshape(3, 5),
        indices=packed(KEYS16, 4),
        lut=LUT16,
        shape=np.array([3, 5], np.uint32),
    ),
    constant(
        "constexpr_lut_to_dense",
        np.array([LUT64[key] for key in KEYS64]).reshape(2, 5),
        indices=packed(KEYS64, 6),
        lut=LUT64,
        shape=np.array([2, 5], np.uint32),
    ),
    constant(
        "constexpr_sparse_to_dense",
        DENSE.reshape(2, 5),
        nonzero_data=VALUES,
        mask=packed(MASK, 1),
        shape=np.array([2, 5], np.uint32),
    ),
    constant(
        "constexpr_cast",
        X.astype(np.float16).astype(np.float64),
        source_val=X.astype(np.float16),
        output_dtype="fp32",
    ),
    constant(
        "constexpr_blockwise_shift_scale",
        blockwise(INT4, BLOCKS, OFFSETS),
        "iOS18",
        data=INT4.astype(types.np_int4_dtype),
        scale=BLOCKS,
        offset=OFFSETS.astype(types.np_int4_dtype),
    ),
    constant(
        "constexpr_blockwise_shift_scale",
        blockwise(UINT4, BLOCKS[:, :1]),
        "iOS18",
        data=UINT4.astype(types.np_uint4_dtype),
        scale=BLOCKS[:, :1],
    ),
    constant(
        "constexpr_lut_to_dense",
        np.array([[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26.0]]),
        "iOS18",
        indices=np.reshape([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3], (6, 2)).astype(
            types.np_uint2_dtype
        ),
        lut=np.array([1, 5, 9, 13, 2, 10, 18, 26], np.float32).reshape(2, 1, 4, 1),
    ),
    *(
        constant(
            "constexpr_lut_to_dense",
            np.array(wanted, np.float64),
            "iOS18",
            indices=np.array([[[0, 0], [1, 0]], [[1, 1], [0, 0]]]).astype(types.np_uint1_dtype),
            lut=np.array([1, 2, 3, 4, 5, 6], np.float32).reshape(1, 1, 1, 2, 3),
            vector_axis=axis,
        )
        for axis, wanted in (
            (
                1,
                [
                    [[1, 1], [2, 2], [3, 3], [4, 1], [5, 2], [6, 3]],
                    [[4, 4], [5, 5], [6, 6], [1, 1], [2, 2], [3, 3]],
                ],
            ),
            (
                2,
                [
                    [[1, 2, 3, 1, 2, 3], [4, 5, 6, 1, 2, 3]],
                    [[4, 5, 6, 4, 5, 6], [1, 2, 3, 1, 2, 3]],
                ],
            ),
        )
    ),
    constant(
        "constexpr_sparse_to_dense",
        DENSE.reshape(2, 5),
        "iOS18",
        nonzero_data=VALUES,
        mask=np.array(MASK).reshape(2, 5).astype(types.np_uint1_dtype),
    ),
]

SPARSE_KEYS = [0, 1, 1, 0, 1, 1, 0, 0, 1]
SPARSE_MASK = np.array(
    [[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]]
)


def spread_keys(lut: Array) -> Array:
    """[4 * vector, 6]: the vectors of the keys down the rows, where the mask is set."""
    keys = iter(SPARSE_KEYS)
    result = np.zeros((4 * lut.shape[1], 6))
    for i, j in itertools.product(range(4), range(6)):
        if SPARSE_MASK[i, j]:
            result[i * lut.shape[1] : (i + 1) * lut.shape[1], j] = lut[next(keys)]
    return result


def sparse_lut(lut: Array) -> Case:
    """A sparse tensor of table entries, made dense."""

    def build(x: Any) -> Any:
        mask, values = mb.constexpr_lut_to_sparse(
            indices_mask=SPARSE_MASK.astype(types.np_uint1_dtype),
            indices_nonzero_data=np.array(SPARSE_KEYS).astype(types.np_uint1_dtype),
            lut=lut.reshape(1, 1, *lut.shape),
            vector_axis=0,
        )
        return mb.add(x=x, y=mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask))

    wanted = spread_keys(lut)
    return Case(
        "constexpr_lut_to_sparse",
        build,
        lambda x: x + wanted,
        (draw(*wanted.shape),),
        target="iOS18",
    )


def sparse_scaled() -> Case:
    """The example of the documentation: a column each has its scale and offset."""
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]])
    wanted = np.array([[0.9, 1.8, 0, 0], [0.2, 0.4, 0.6, 0], [0, 0, 0.9, 1.2], [0.7, 1.4, 0, 0]])

    def build(x: Any) -> Any:
        kept, values = mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=mask.astype(types.np_uint1_dtype),
            nonzero_data=np.array([10, 11, 3, 4, 5, 6, 7, 8, 9], np.int8),
            scale=np.array([[0.1, 0.2, 0.3, 0.4]], np.float32),
            offset=np.array([[1, 2, 3, 4]], np.int8),
        )
        return mb.add(x=x, y=mb.constexpr_sparse_to_dense(nonzero_data=values, mask=kept))

    return Case(
        "constexpr_sparse_blockwise_shift_scale",
        build,
        lambda x: x + wanted,
        (draw(4, 4),),
        target="iOS18",
    )


CASES += [
    sparse_lut(np.array([[2], [3]], np.float32)),
    sparse_lut(np.array([[2, 2.5], [3, 3.5]], np.float32)),
    sparse_scaled(),
]


@cases(CASES)
def test_values_are_decompressed_by_the_formula(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
