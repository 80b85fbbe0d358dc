"""What Android's loader asks of a library, checked without a phone.

Text relocations and segments that are both writable and executable are refused since Android 6
and 8; pages of 16 KB, since Android 15, ask for segments that are aligned to as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .elf import AARCH64, EXECUTABLE, LOAD, STACK, WRITABLE, Elf, read_elf

PAGE = 16384
SYSTEM_LIBRARIES = frozenset({"libc.so", "libm.so"})
EXPORT = "RegisterCustomOps"


def android_faults(library: Path) -> list[str]:
    """Why Android would not load or serve the kernel library, in words; empty if it is right.

    Raises UsageError if the file is no intact ELF library.
    """
    elf = read_elf(library)
    return [*_identity(elf, library.name), *_symbols(elf), *_segments(elf)]


def _identity(elf: Elf, name: str) -> Iterator[str]:
    if elf.machine != AARCH64:
        yield f"it is for machine {elf.machine}, not for AArch64 ({AARCH64})"
    if elf.soname != name:
        yield f"its SONAME is {elf.soname!r}, not {name!r}"
    foreign = [library for library in elf.needed if library not in SYSTEM_LIBRARIES]
    if foreign:
        yield f"it needs {', '.join(foreign)}, which Android does not have"


def _symbols(elf: Elf) -> Iterator[str]:
    if elf.exports != (EXPORT,):
        yield f"it exports {', '.join(elf.exports) or 'nothing'} instead of {EXPORT} alone"
    if elf.text_relocations:
        yield "it has text relocations"


def _segments(elf: Elf) -> Iterator[str]:
    loaded = elf.of_kind(LOAD)
    if not loaded:
        yield "it has nothing to load"
    for segment in loaded:
        place = f"the segment at {segment.address:#x}"
        if segment.alignment < PAGE or segment.alignment % PAGE:
            yield f"{place} is aligned to {segment.alignment} bytes, not to {PAGE}"
        elif (segment.address - segment.offset) % segment.alignment:
            yield f"{place} does not lie in the file as it is aligned"
        if segment.flags & WRITABLE and segment.flags & EXECUTABLE:
            yield f"{place} is writable and executable"
    if any(segment.flags & EXECUTABLE for segment in elf.of_kind(STACK)):
        yield "its stack is executable"
