"""The reader of libraries, and what it says of Android's: right, patched, cut short, damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kernel_elf import read_elf as read_sections

from attnc.compiler.errors import UsageError
from attnc.runtimes.cpu.android import PAGE, android_faults
from attnc.runtimes.cpu.build import build
from attnc.runtimes.cpu.elf import DYNAMIC, GNU_HASH, HASH, LOAD, read_elf

#: Fields of the file header and of a program header, in bytes from their begin.
MACHINE, PROGRAMS, PROGRAM_COUNT = 18, 32, 56
FLAGS, ALIGNMENT = 4, 48
#: All headers together, in bytes.
HEADERS = 64 + 8 * 56


@pytest.fixture(scope="module")
def android() -> Path:
    """The shipped library for Android, built if it is not up to date."""
    return build("android-aarch64")


@pytest.fixture
def patched(android: Path, tmp_path: Path) -> Callable[[Callable[[bytearray], None]], Path]:
    """A copy of the library that a function has changed."""

    def change(patch: Callable[[bytearray], None]) -> Path:
        data = bytearray(android.read_bytes())
        patch(data)
        copy = tmp_path / android.name
        copy.write_bytes(data)
        return copy

    return change


def programs(data: bytearray, kind: int) -> list[int]:
    """Where the program headers of a kind are."""
    (begin,) = struct.unpack_from("<Q", data, PROGRAMS)
    (count,) = struct.unpack_from("<H", data, PROGRAM_COUNT)
    places = [begin + 56 * index for index in range(count)]
    return [at for at in places if struct.unpack_from("<I", data, at) == (kind,)]


def tags(data: bytearray) -> dict[int, int]:
    """Where each entry of the dynamic segment is, by tag."""
    (header,) = programs(data, DYNAMIC)
    offset, _, _, size = struct.unpack_from("<QQQQ", data, header + 8)
    return {struct.unpack_from("<q", data, at)[0]: at for at in range(offset, offset + size, 16)}


def test_android_would_load_the_library(android: Path) -> None:
    assert android_faults(android) == []
    elf = read_elf(android)
    assert elf.exports == ("RegisterCustomOps",)
    assert set(elf.needed) <= {"libc.so", "libm.so"}
    assert elf.soname == android.name
    assert {segment.alignment for segment in elf.of_kind(LOAD)} == {PAGE}


@pytest.mark.parametrize("target", ["android-aarch64", "linux-aarch64", "linux-x86_64"])
def test_segments_say_what_sections_say(target: str) -> None:
    path = build(target)
    by_segments, by_sections = read_elf(path), read_sections(path)
    assert set(by_segments.exports) == by_sections.exports
    assert set(by_segments.imports) == by_sections.imports
    assert list(by_segments.needed) == by_sections.needed
    assert {segment.alignment for segment in by_segments.of_kind(LOAD)} == by_sections.alignments


def test_symbols_are_found_by_either_hash_table(
    android: Path, patched: Callable[[Callable[[bytearray], None]], Path]
) -> None:
    def hide(data: bytearray) -> None:
        assert GNU_HASH in tags(data)
        struct.pack_into("<q", data, tags(data)[HASH], 0x6FFFFFF0)

    elf = read_elf(patched(hide))
    assert (elf.exports, elf.imports) == (read_elf(android).exports, read_elf(android).imports)


def test_a_library_for_linux_is_not_for_android() -> None:
    faults = android_faults(build("linux-x86_64"))
    assert any("libc.so.6" in fault for fault in faults)
    assert any("machine 62" in fault for fault in faults)
    assert any("4096 bytes" in fault for fault in faults)


def other_machine(data: bytearray) -> None:
    struct.pack_into("<H", data, MACHINE, 40)


def small_pages(data: bytearray) -> None:
    struct.pack_into("<Q", data, programs(data, LOAD)[1] + ALIGNMENT, 4096)


def moved_segment(data: bytearray) -> None:
    at = programs(data, LOAD)[-1] + 8
    struct.pack_into("<Q", data, at, struct.unpack_from("<Q", data, at)[0] - 16)


def writable_code(data: bytearray) -> None:
    struct.pack_into("<I", data, programs(data, LOAD)[1] + FLAGS, 7)


def text_relocations(data: bytearray) -> None:
    at = tags(data)[30] + 8
    struct.pack_into("<Q", data, at, struct.unpack_from("<Q", data, at)[0] | 4)


def other_name(data: bytearray) -> None:
    at = data.index(b"RegisterCustomOps\0")
    data[at : at + 8] = b"Registre"


def other_need(data: bytearray) -> None:
    at = data.index(b"\0libc.so\0") + 1
    data[at : at + 4] = b"libx"


def other_soname(data: bytearray) -> None:
    at = data.index(b"attnc_kernels-android")
    data[at : at + 5] = b"other"


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        (other_machine, "machine 40"),
        (small_pages, "aligned to 4096"),
        (moved_segment, "does not lie in the file"),
        (writable_code, "writable and executable"),
        (text_relocations, "text relocations"),
        (other_name, "exports RegistreCustomOps"),
        (other_need, "libx.so"),
        (other_soname, "SONAME"),
    ],
)
def test_each_fault_is_found_alone(
    patched: Callable[[Callable[[bytearray], None]], Path],
    patch: Callable[[bytearray], None],
    said: str,
) -> None:
    (fault,) = android_faults(patched(patch))
    assert said in fault


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "does not begin"),
        (b"MZ" + bytes(100), "does not begin"),
        (b"\x7fELF\x01\x01" + bytes(100), "64-bit"),
        (b"\x7fELF\x02\x01" + bytes(4), "ends too early"),
        (b"\x7fELF\x02\x01" + bytes(100), "not a shared library"),
    ],
)
def test_what_is_no_library_is_told(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x.so").write_bytes(data)
    with pytest.raises(UsageError, match="no intact ELF library") as caught:
        read_elf(tmp_path / "x.so")
    assert said in caught.value.message
    assert caught.value.where == str(tmp_path / "x.so")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the library"):
        read_elf(tmp_path / "none.so")


def test_a_library_cut_short_anywhere_is_told(android: Path, tmp_path: Path) -> None:
    """Sections lie last and are not needed; what is loaded is."""
    data, elf = android.read_bytes(), read_elf(android)
    end = max(segment.offset + segment.file_bytes for segment in elf.of_kind(LOAD))
    for size in np.random.default_rng(0).integers(0, end, 40):
        (tmp_path / "x.so").write_bytes(data[:size])
        with pytest.raises(UsageError):
            read_elf(tmp_path / "x.so")


def test_damage_anywhere_raises_nothing_else(android: Path, tmp_path: Path) -> None:
    original, rng = android.read_bytes(), np.random.default_rng(1)
    told = 0
    for _ in range(200):
        data = bytearray(original)
        for at in (*rng.integers(0, HEADERS, 2), *rng.integers(0, 0x400, 2)):
            data[at] = rng.integers(256)
        (tmp_path / "x.so").write_bytes(data)
        try:
            told += bool(android_faults(tmp_path / "x.so"))
        except UsageError:
            told += 1
    assert told > 100
