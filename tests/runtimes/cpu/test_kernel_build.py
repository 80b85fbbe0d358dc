"""The build: incremental, reproducible, small, and importing next to nothing on every target."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_elf import read_elf

from attnc.runtimes.cpu import build as builder
from attnc.runtimes.cpu.toolchain import TARGETS

ALLOWED = {"malloc", "free", "getenv", "getauxval", "memcpy", "memset", "calloc", "sqrtf"}
HEADERS = {"stddef.h", "stdint.h", "immintrin.h", "arm_neon.h", "wasm_simd128.h"}
GLIBC_LIMIT = (2, 17)
#: The kernels of five families, for three instruction sets in one file.
LARGEST = 1_000_000


def glibc(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in version.removeprefix("GLIBC_").split("."))


def check_elf(path: Path) -> None:
    elf = read_elf(path)
    assert elf.exports == {"RegisterCustomOps"}
    assert elf.imports <= ALLOWED
    assert all(glibc(v) <= GLIBC_LIMIT for v in elf.versions if v.startswith("GLIBC_"))
    assert {re.sub(r"\.so.*", "", n) for n in elf.needed} <= {"libc", "libm", "ld-linux-aarch64"}
    assert path.stat().st_size < LARGEST


def test_the_host_library_exports_one_symbol_and_imports_only_libc(library):
    if library.suffix != ".so":
        pytest.skip("ELF only")
    check_elf(library)


def test_a_second_build_does_nothing(library):
    before = library.stat().st_mtime_ns
    assert builder.main([]) == 0
    assert library.stat().st_mtime_ns == before


def test_a_compiler_that_fails_is_reported_and_leaves_nothing(tmp_path, capsys):
    assert builder.main(["--cc", "/bin/false", "--output", str(tmp_path)]) == 1
    assert "kernel build failed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_that_is_not_there_is_reported(tmp_path, capsys):
    assert builder.main(["--cc", "/no/such/compiler", "--output", str(tmp_path)]) == 1
    assert "/no/such/compiler" in capsys.readouterr().err


def test_every_kernel_source_is_free_of_the_cpp_library():
    shipped = [p for p in builder.SOURCES.iterdir() if p.name not in builder.BENCH_LAYER]
    for path in shipped:
        for header in re.findall(r"#include <(.*)>", path.read_text()):
            assert header in HEADERS, path


def test_onnx_runtime_is_unknown_to_the_kernels():
    for path in builder.SOURCES.iterdir():
        if not path.name.startswith("ort_"):
            assert not re.search(r"OrtStatus|OrtApi|ort_", path.read_text()), path


def test_abi_indices_equal_the_real_headers():
    folder = os.environ.get("ATTNC_ORT_HEADERS")
    if not folder:
        pytest.skip("ATTNC_ORT_HEADERS names no folder with onnxruntime_c_api.h")
    real = (Path(folder) / "onnxruntime_c_api.h").read_text()
    body = real[real.index("struct OrtApi {") :]
    pattern = r"ORT_API2_STATUS\((\w+)|ORT_CLASS_RELEASE\((\w+)\)|\(ORT_API_CALL\* (\w+)\)"
    entries = [a or (b and f"Release{b}") or c for a, b, c in re.findall(pattern, body)]
    ours = (builder.SOURCES / "ort_abi.h").read_text()
    listed = ours[ours.index("enum Index") : ours.index("template")]
    indices = re.findall(r"k(\w+) = (\d+)", listed)
    assert len(indices) > 30
    for name, index in indices:
        assert entries[int(index)] == name
    struct = real[real.index("struct OrtCustomOp {") :]
    struct = struct[: struct.index("\n};")]
    members = re.findall(r"ORT_API_CALL\* (\w+)\)", struct)
    mine = re.findall(r"\(\*(\w+)\)", ours[ours.index("struct OrtCustomOp {") :])
    assert mine == members[: len(mine)]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TARGETS))
def test_every_target_builds_twice_to_the_same_bytes(name, tmp_path, monkeypatch):
    digests = []
    for folder in ("a", "b"):
        for cache in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
            monkeypatch.setenv(cache, str(tmp_path / folder / cache))
        path = builder.build(name, output=tmp_path / folder)
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
        assert path.stat().st_size < LARGEST
    assert digests[0] == digests[1]
    if TARGETS[name].suffix == "so":
        check_elf(path)
    if name == "android-aarch64":
        assert read_elf(path).alignments == {16384}


@pytest.mark.slow
def test_address_and_undefined_behaviour_sanitizers_find_nothing(tmp_path):
    compiler = shutil.which("g++")
    if not compiler:
        pytest.skip("needs g++ with its sanitizer runtimes")
    path = builder.build(
        "linux-x86_64", compiler=compiler, sanitize=True, bench=True, output=tmp_path
    )
    command = [compiler, "-print-file-name=libasan.so"]
    runtime = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    script = Path(__file__).with_name("kernel_sanitize.py")
    environment = {**os.environ, "LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [sys.executable, script, path], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_oldest_onnx_runtime_that_pip_gives(library, tmp_path, seed):
    """1.17 is the floor of the C interface; pip has an old one for some Pythons only."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = venv / "bin" / "python"
    command = [python, "-m", "pip", "install", "-q", "onnxruntime==1.17.*", "numpy<2", "onnx"]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("pip has no onnxruntime 1.17 for this Python and platform")
    script = Path(__file__).with_name("kernel_oldest.py")
    done = subprocess.run(
        [python, script, library, str(seed)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1.17" in done.stdout
