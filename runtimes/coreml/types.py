"""The data types of ML programs: their names, their NumPy storage and their widths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

#: NumPy storage by type; integers below a byte take a byte each once they are unpacked.
STORAGE: dict[str, type[np.generic]] = {
    "fp16": np.float16,
    "fp32": np.float32,
    "fp64": np.float64,
    "bool": np.bool_,
    "int4": np.int8,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint1": np.uint8,
    "uint2": np.uint8,
    "uint3": np.uint8,
    "uint4": np.uint8,
    "uint6": np.uint8,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
}
#: Bits per value of the types that are packed below a byte.
PACKED_BITS = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "int4": 4}


@dataclass(frozen=True)
class TensorType:
    """A tensor's type; an unknown size is "?", an unknown rank is one "..."."""

    dtype: str
    shape: tuple[int | str, ...]

    @property
    def storage(self) -> np.dtype[Any]:
        """The NumPy type that holds its values."""
        return np.dtype(STORAGE[self.dtype])

    @property
    def fixed(self) -> tuple[int, ...] | None:
        """The shape where every size is known."""
        sizes = tuple(size for size in self.shape if isinstance(size, int))
        return sizes if len(sizes) == len(self.shape) else None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a value of `shape` has this type's shape."""
        if self.shape == ("...",):
            return True
        pairs = zip(self.shape, shape, strict=False)
        return len(shape) == len(self.shape) and all(
            want == have or not isinstance(want, int) for want, have in pairs
        )

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class ListType:
    """A list of tensors of one type."""

    element: TensorType


@dataclass(frozen=True)
class DictionaryType:
    """A classifier's probabilities: label type and probability type."""

    key: TensorType
    value: TensorType


ValueType: TypeAlias = TensorType | ListType | DictionaryType


def unpack_bits(data: Array, bits: int, count: int) -> Array:
    """`count` unsigned integers of `bits` each, packed from the lowest bit of the first byte."""
    stream = np.unpackbits(data, bitorder="little", count=bits * count).reshape(count, bits)
    weights = (1 << np.arange(bits)).astype(np.uint8)
    values: Array = (stream * weights).sum(axis=1, dtype=np.uint8)
    return values


def unpack(data: Array, dtype: str, count: int) -> Array:
    """`count` values of a packed type, one per element of the result."""
    values = unpack_bits(data, PACKED_BITS[dtype], count)
    return (values.astype(np.int8) ^ 8) - 8 if dtype == "int4" else values
