"""Constants, stored plainly or compressed: quantised, by look-up tables, sparse."""

from __future__ import annotations

from math import prod

import numpy as np

from attnc.runtimes.coreml.call import Call, widened
from attnc.runtimes.coreml.types import STORAGE, Array, unpack_bits


def const(call: Call) -> Array:
    """The value as it is stored."""
    value: Array = call["val"]
    return value


def constexpr_cast(call: Call) -> Array:
    """The constant in another type."""
    value: Array = call["source_val"]
    return value.astype(STORAGE[call.text("output_dtype")])


def affine_dequantize(call: Call) -> Array:
    """scale * (data - zero point), with scalars or one number per entry of `axis`."""
    data = call["quantized_data"]
    along = [1] * data.ndim
    along[call.int("axis")] = -1
    scale, zero = (
        value.reshape(along) if value.ndim else value
        for value in (call["scale"], call["zero_point"])
    )
    return dequantized(data, scale, zero)


def blockwise_shift_scale(call: Call) -> Array:
    """scale * (data - offset), one scale per block of the data."""
    return shifted_and_scaled(call["data"], call["scale"], call.get("offset"))


def shifted_and_scaled(data: Array, scale: Array, offset: Array | None) -> Array:
    """scale * (data - offset); each axis of `scale` divides that of `data` into equal blocks."""
    zero = np.zeros((), scale.dtype) if offset is None else spread(offset, data.shape)
    return dequantized(data, spread(scale, data.shape), zero)


def dequantized(data: Array, scale: Array, zero: Array) -> Array:
    """scale * (data - zero), computed in float32 and rounded to the type of `scale`."""
    values = widened(scale) * (data.astype(np.float32) - zero.astype(np.float32))
    return np.asarray(values).astype(scale.dtype)


def spread(blocks: Array, shape: tuple[int, ...]) -> Array:
    """Values per block repeated to a value per element of `shape`."""
    for axis, size in enumerate(shape):
        blocks = np.repeat(blocks, per_block(size, blocks.shape[axis]), axis)
    return blocks


def per_block(size: int, blocks: int) -> int:
    """Elements per block; ValueError unless the blocks are equal."""
    if size % blocks:
        raise ValueError(f"{size} elements do not divide into {blocks} blocks")
    return size // blocks


def lut_to_dense(call: Call) -> Array:
    """Table entries by index: packed indices with a `shape` (iOS 16) or tables per block."""
    indices, lut = call["indices"], call["lut"]
    if "shape" not in call:
        return from_tables(indices, lut, call.int("vector_axis", -1))
    shape = call.ints("shape")
    bits = int(lut.size).bit_length() - 1
    entries: Array = lut[unpack_bits(indices, bits, prod(shape))]
    return entries.reshape(shape)


def from_tables(indices: Array, lut: Array, vector_axis: int) -> Array:
    """Entries of lut[..., entries, vector]; the vectors lie along `vector_axis` of the result."""
    owners = [
        np.arange(size) // per_block(size, tables)
        for size, tables in zip(indices.shape, lut.shape[:-2], strict=True)
    ]
    entries: Array = lut[(*np.ix_(*owners), indices)]
    axis = vector_axis % indices.ndim
    shape = list(indices.shape)
    shape[axis] *= lut.shape[-1]
    return np.moveaxis(entries, -1, axis + 1).reshape(shape)


def sparse_to_dense(call: Call) -> Array:
    """Zeros but where the mask is set; the mask is packed with a `shape` in iOS 16."""
    mask = call["mask"]
    if "shape" in call:
        shape = call.ints("shape")
        mask = unpack_bits(mask, 1, prod(shape)).reshape(shape)
    return scattered(call["nonzero_data"], mask)


def scattered(values: Array, mask: Array) -> Array:
    """The values, in row-major order, where the mask is set; ValueError for another count."""
    if values.shape != (np.count_nonzero(mask),):
        raise ValueError(f"{values.size} values for {np.count_nonzero(mask)} bits of the mask")
    dense: Array = np.zeros(mask.shape, values.dtype)
    dense[mask != 0] = values
    return dense


def lut_to_sparse(call: Call) -> tuple[Array, Array]:
    """The mask, with an entry per vector element, and the table entries of the set ones."""
    mask, lut, axis = call["indices_mask"], call["lut"], call.int("vector_axis", -1)
    dense = from_tables(scattered(call["indices_nonzero_data"], mask), lut, axis)
    mask = np.repeat(mask, lut.shape[-1], axis)
    return mask, dense[mask != 0]


def sparse_blockwise_shift_scale(call: Call) -> tuple[Array, Array]:
    """The mask, and the values that it sets, dequantised by their place in the dense layout."""
    mask = call["data_mask"]
    dense = scattered(call["nonzero_data"], mask)
    return mask, shifted_and_scaled(dense, call["scale"], call.get("offset"))[mask != 0]


OPERATIONS = {
    "const": const,
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_cast": constexpr_cast,
    "constexpr_lut_to_dense": lut_to_dense,
    "constexpr_lut_to_sparse": lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": sparse_to_dense,
}
