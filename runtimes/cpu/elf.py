"""What a loader sees of a 64-bit library: read as the loader does, from its segments.

Needs no binutils, so a bundle can be inspected on any machine. Sections are not looked at: a
stripped library may have none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attnc.compiler.errors import UsageError

AARCH64 = 183
SHARED = 3
LOAD, DYNAMIC, STACK = 1, 2, 0x6474E551
EXECUTABLE, WRITABLE = 1, 2
#: Tags of the dynamic segment.
NEEDED, HASH, STRINGS, SYMBOLS, SONAME, TEXT_RELOCATIONS, FLAGS = 1, 4, 5, 6, 14, 22, 30
GNU_HASH = 0x6FFFFEF5
FLAG_TEXT_RELOCATIONS = 4
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
TAG = struct.Struct("<QQ")
SYMBOL = struct.Struct("<IBBHQQ")
WORD = struct.Struct("<I")


@dataclass(frozen=True)
class Segment:
    """A program header: `kind` and `flags` as the format has them, sizes in bytes."""

    kind: int
    flags: int
    offset: int
    address: int
    file_bytes: int
    memory_bytes: int
    alignment: int


@dataclass(frozen=True)
class Elf:
    """A shared library. `exports` and `imports` are dynamic symbols, in the file's order."""

    machine: int
    segments: tuple[Segment, ...]
    soname: str
    needed: tuple[str, ...]
    exports: tuple[str, ...]
    imports: tuple[str, ...]
    text_relocations: bool

    def of_kind(self, kind: int) -> tuple[Segment, ...]:
        """The segments of a kind."""
        return tuple(segment for segment in self.segments if segment.kind == kind)


def read_elf(path: Path) -> Elf:
    """Read a little-endian 64-bit shared library.

    Raises UsageError naming the file and what is wrong if it is none, or cut short, or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the library: {error.strerror}", where=str(path)) from error
    return _Reader(path, data).read()


class _Reader:
    """Every access is checked; `_segments` are known before an address is looked up."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path, self._data = path, data
        self._segments: tuple[Segment, ...] = ()

    def read(self) -> Elf:
        machine = self._read_header()
        tags = list(self._tags())
        values = dict(tags)
        names = self._offset(self._of(values, STRINGS, "strings"))
        exports, imports = self._symbols(values, names)
        text = TEXT_RELOCATIONS in values or bool(values.get(FLAGS, 0) & FLAG_TEXT_RELOCATIONS)
        return Elf(
            machine=machine,
            segments=self._segments,
            soname=self._text(names + values[SONAME]) if SONAME in values else "",
            needed=tuple(self._text(names + value) for tag, value in tags if tag == NEEDED),
            exports=exports,
            imports=imports,
            text_relocations=text,
        )

    def _read_header(self) -> int:
        """The machine; reads the segments as well."""
        if self._data[:4] != b"\x7fELF":
            raise self._damaged("it does not begin as an ELF file")
        if self._data[4:6] != b"\x02\x01":
            raise self._damaged("it is not for a 64-bit little-endian machine")
        _, kind, machine, _, _, begin, *_, size, count, _, _, _ = self._unpack(HEADER, 0)
        if kind != SHARED:
            raise self._damaged("it is not a shared library")
        if size != SEGMENT.size:
            raise self._damaged(f"its program headers have {size} bytes, not {SEGMENT.size}")
        self._segments = tuple(self._segment(begin + index * size) for index in range(count))
        return int(machine)

    def _segment(self, at: int) -> Segment:
        kind, flags, offset, address, _, file_bytes, memory, align = self._unpack(SEGMENT, at)
        if kind in (LOAD, DYNAMIC) and offset + file_bytes > len(self._data):
            raise self._damaged("a segment reaches beyond the end of the file")
        return Segment(kind, flags, offset, address, file_bytes, memory, align)

    def _tags(self) -> Iterator[tuple[int, int]]:
        for segment in self._segments:
            if segment.kind == DYNAMIC:
                for at in range(segment.offset, segment.offset + segment.file_bytes, TAG.size):
                    tag, value = self._unpack(TAG, at)
                    if tag == 0:
                        return
                    yield tag, value
                return
        raise self._damaged("it has no dynamic segment")

    def _symbols(self, tags: dict[int, int], names: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        begin = self._offset(self._of(tags, SYMBOLS, "symbols"))
        exports: list[str] = []
        imports: list[str] = []
        for index in range(1, self._symbol_count(tags)):
            name, _, _, section, _, _ = self._unpack(SYMBOL, begin + index * SYMBOL.size)
            (exports if section else imports).append(self._text(names + name))
        return tuple(exports), tuple(imports)

    def _symbol_count(self, tags: dict[int, int]) -> int:
        """The hash tables know it; sections, which would say it, may be stripped."""
        if HASH in tags:
            return self._word(self._offset(tags[HASH]) + 4)
        at = self._offset(self._of(tags, GNU_HASH, "hash table"))
        buckets, first, words = (self._word(at + 4 * place) for place in range(3))
        heads = at + 16 + 8 * words
        last = max((self._word(heads + 4 * place) for place in range(buckets)), default=0)
        if last < first:
            return first
        while not self._word(heads + 4 * (buckets + last - first)) & 1:
            last += 1
        return last + 1

    def _of(self, tags: dict[int, int], tag: int, what: str) -> int:
        if tag not in tags:
            raise self._damaged(f"its dynamic segment names no {what}")
        return tags[tag]

    def _offset(self, address: int) -> int:
        """Where in the file the byte at an address of memory lies."""
        for segment in self._segments:
            begin = segment.address
            if segment.kind == LOAD and begin <= address < begin + segment.file_bytes:
                return segment.offset + address - begin
        raise self._damaged(f"address {address:#x} is in none of its segments")

    def _text(self, at: int) -> str:
        end = self._data.find(b"\0", at)
        if end < 0:
            raise self._damaged("a name does not end")
        try:
            return self._data[at:end].decode("ascii")
        except UnicodeDecodeError as error:
            raise self._damaged("a name is not ASCII") from error

    def _word(self, at: int) -> int:
        return int(self._unpack(WORD, at)[0])

    def _unpack(self, form: struct.Struct, at: int) -> tuple[int, ...]:
        if at + form.size > len(self._data):
            raise self._damaged("it ends too early")
        return form.unpack_from(self._data, at)

    def _damaged(self, what: str) -> UsageError:
        return UsageError(
            f"{self._path.name} is no intact ELF library: {what}",
            where=str(self._path),
            remedy="build it again: python -m attnc.runtimes.cpu.build --force",
        )
