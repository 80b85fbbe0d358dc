"""The binary program that the web engine executes: tensors, stored weights, steps.

A file of little-endian 32-bit words, then text. The engine reads it in place: no parser, no names
but those of operators and attributes. docs/web-engine.md has the format.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

MAGIC, VERSION, MAX_RANK, ABSENT = 0x4E545441, 1, 8, 0xFFFFFFFF
WEIGHTS, ARENA = 0, 1
#: Element types in memory, and float16 as a type of stored weights only.
FLOAT32, INT64, INT32, BOOL, FLOAT16 = 0, 1, 2, 3, 10
INTS, FLOATS, TEXT = 0, 1, 2
HEADER_WORDS = 16

AttributeValue = int | float | str | Sequence[int] | Sequence[float]


@dataclass(frozen=True)
class Tensor:
    """A block of memory: `offset` in bytes from the base of its space, dense, row-major."""

    space: int
    dtype: int
    offset: int
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """A weight in the file: its type there, where it lies, where it goes in memory."""

    dtype: int
    file_offset: int
    offset: int
    elements: int


@dataclass(frozen=True)
class Step:
    """One operator: `attnc.<name>` or the name of a standard one; an absent input is None."""

    operator: str
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    attributes: dict[str, AttributeValue]


@dataclass(frozen=True)
class Program:
    """Everything that the engine needs to run a model but the weights' bytes."""

    tensors: tuple[Tensor, ...]
    stored: tuple[Stored, ...]
    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    arena_bytes: int
    weight_bytes: int
    file_bytes: int


class _Text:
    """Zero-terminated texts, each once."""

    def __init__(self) -> None:
        self.data, self.places = bytearray(), dict[str, int]()

    def place(self, text: str) -> int:
        """Byte offset of the text in the text part."""
        if text not in self.places:
            self.places[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self.places[text]


def to_bytes(program: Program) -> bytes:
    """The file. Raises ValueError for a rank above 8 or a number that does not fit."""
    text, words = _Text(), []
    for tensor in program.tensors:
        words += _tensor_words(tensor)
    words += [*program.inputs, *program.outputs]
    for item in program.stored:
        words += [item.dtype, item.file_offset, item.offset, item.elements]
    for step in program.steps:
        words += _step_words(step, text)
    header = [MAGIC, VERSION, HEADER_WORDS + len(words), len(text.data)]
    header += [len(program.tensors), len(program.steps), len(program.inputs), len(program.outputs)]
    header += [program.arena_bytes, program.weight_bytes, program.file_bytes, len(program.stored)]
    header += [0] * (HEADER_WORDS - len(header))
    return _pack(header + words) + bytes(text.data)


def _pack(words: Sequence[int]) -> bytes:
    try:
        return struct.pack(f"<{len(words)}I", *words)
    except struct.error as error:
        raise ValueError(f"a number does not fit 32 bits: {error}") from error


def _tensor_words(tensor: Tensor) -> list[int]:
    if len(tensor.dims) > MAX_RANK:
        raise ValueError(f"rank {len(tensor.dims)} exceeds {MAX_RANK}")
    padded = [*tensor.dims, *[1] * (MAX_RANK - len(tensor.dims))]
    return [tensor.space, tensor.dtype, tensor.offset, len(tensor.dims), *padded]


def _step_words(step: Step, text: _Text) -> list[int]:
    body = [ABSENT if index is None else index for index in step.inputs] + list(step.outputs)
    for name, value in step.attributes.items():
        body += [text.place(name), *_value_words(value, text)]
    counts = [len(step.inputs), len(step.outputs), len(step.attributes)]
    return [5 + len(body), text.place(step.operator), *counts, *body]


def _value_words(value: AttributeValue, text: _Text) -> list[int]:
    if isinstance(value, str):
        return [TEXT, 1, text.place(value)]
    values = [value] if isinstance(value, int | float) else list(value)
    if any(isinstance(item, float) for item in values):
        return [FLOATS, len(values), *(_float_word(item) for item in values)]
    return [INTS, len(values), *(_int_word(int(item)) for item in values)]


def _float_word(value: float) -> int:
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def _int_word(value: int) -> int:
    """Two's complement; what does not fit (a Slice to the end) becomes the nearest that does."""
    return max(-(2**31), min(2**31 - 1, value)) & 0xFFFFFFFF
