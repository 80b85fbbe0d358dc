"""The weight file of a package: constants that are too large for the program itself.

A header, then a record per blob, each aligned to 64 bytes; a record says where its data lie.
"""

from __future__ import annotations

import struct
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np

from attnc.compiler.errors import UsageError
from attnc.runtimes.coreml.types import PACKED_BITS, Array, TensorType, unpack

ALIGNMENT = 64
SENTINEL = 0xDEADBEEF
VERSION = 2
HEADER = struct.Struct("<II56x")
RECORD = struct.Struct("<IIQQQ32x")
REMEDY = "save the package again: its weight file is damaged"
#: Type codes of blob records.
CODES = {
    1: "fp16",
    2: "fp32",
    3: "uint8",
    4: "int8",
    6: "int16",
    7: "uint16",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
    14: "int32",
    15: "uint32",
}


class BlobFile:
    """One weight file, mapped on first use."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def data(self) -> Array:
        """The bytes of the file; UsageError where it is missing or has a foreign header."""
        try:
            # Copy on write: nobody writes, but torch warns of arrays that cannot be written.
            data: Array = np.memmap(self.path, np.uint8, mode="c")
        except (OSError, ValueError) as error:
            raise self._wrong(f"cannot be read: {error}") from error
        if data.size < HEADER.size:
            raise self._wrong(f"has {data.size} bytes, less than its header of {HEADER.size}")
        _, version = HEADER.unpack(data[: HEADER.size].tobytes())
        if version != VERSION:
            raise self._wrong(f"has version {version}, not {VERSION}")
        return data

    def read(self, offset: int, expect: TensorType) -> Array:
        """The constant whose record lies at `offset`, of exactly the type `expect`.

        Raises UsageError where the record or the data contradict that type or leave the file.
        """
        code, size, start, padding = self._record(offset)
        at = f"the blob at offset {offset}"
        if CODES.get(code) != expect.dtype:
            raise self._wrong(f"{at} has type {CODES.get(code, code)}, not {expect.dtype}")
        if expect.fixed is None:
            raise self._wrong(f"{at} is read with the unknown shape {expect}")
        count = prod(expect.fixed)
        bits = PACKED_BITS.get(expect.dtype, 8 * expect.storage.itemsize) * count
        if size != -(-bits // 8) or padding != 8 * size - bits:
            raise self._wrong(f"{at} has {size} bytes ({padding} bits padding) for {expect}")
        if start % ALIGNMENT or start < HEADER.size or start + size > self.data.size:
            raise self._wrong(f"{at} points to {size} bytes at {start} of {self.data.size}")
        raw = self.data[start : start + size]
        packed = expect.dtype in PACKED_BITS
        values = unpack(raw, expect.dtype, count) if packed else raw.view(expect.storage)
        return np.asarray(values).reshape(expect.fixed)

    def _record(self, offset: int) -> tuple[int, int, int, int]:
        """Type code, bytes, data offset and padding bits of the record at `offset`."""
        if offset % ALIGNMENT or offset < HEADER.size or offset + RECORD.size > self.data.size:
            raise self._wrong(f"has no blob at offset {offset} of {self.data.size}")
        raw = self.data[offset : offset + RECORD.size].tobytes()
        sentinel, code, size, start, padding = RECORD.unpack(raw)
        if sentinel != SENTINEL:
            raise self._wrong(f"the blob at offset {offset} starts with {sentinel:#x}")
        return code, size, start, padding

    def _wrong(self, what: str) -> UsageError:
        return UsageError(
            f"the weight file is damaged: {what}", where=str(self.path), remedy=REMEDY
        )
