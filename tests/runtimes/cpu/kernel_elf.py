"""Reads what the tests need of a 64-bit little-endian ELF library, without binutils."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Elf:
    """Dynamic symbols, needed libraries, required versions and load alignment of a library."""

    exports: set[str]
    imports: set[str]
    needed: list[str]
    versions: set[str]
    alignments: set[int]


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()


def read_elf(path: Path) -> Elf:
    """Parse `path`."""
    data = path.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01"
    phoff, shoff = struct.unpack_from("<QQ", data, 32)
    phsize, phnum, shsize, shnum = struct.unpack_from("<HHHH", data, 54)
    programs = [struct.unpack_from("<IIQQQQQQ", data, phoff + i * phsize) for i in range(phnum)]
    alignments = {p[7] for p in programs if p[0] == 1}
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, shoff + i * shsize) for i in range(shnum)]
    exports, imports, needed, versions = set(), set(), [], set()
    for section in sections:
        kind, offset, size, link = section[1], section[4], section[5], section[6]
        names = sections[link][4] if link < shnum else 0
        if kind == 11:  # SHT_DYNSYM
            for at in range(offset + 24, offset + size, 24):
                name, _info, _other, index = struct.unpack_from("<IBBH", data, at)
                (imports if index == 0 else exports).add(_text(data, names + name))
        elif kind == 6:  # SHT_DYNAMIC
            for at in range(offset, offset + size, 16):
                tag, value = struct.unpack_from("<QQ", data, at)
                if tag == 1:
                    needed.append(_text(data, names + value))
        elif kind == 0x6FFFFFFE:  # SHT_GNU_verneed
            versions |= _versions(data, offset, names)
    return Elf(exports, imports, needed, versions, alignments)


def _versions(data: bytes, at: int, names: int) -> set[str]:
    found = set()
    while True:
        _version, count, _file, aux, following = struct.unpack_from("<HHIII", data, at)
        entry = at + aux
        for _ in range(count):
            _hash, _flags, _other, name, skip = struct.unpack_from("<IHHII", data, entry)
            found.add(_text(data, names + name))
            entry += skip
        if not following:
            return found
        at += following
