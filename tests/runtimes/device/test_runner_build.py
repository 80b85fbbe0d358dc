"""The runner's files: small, for the right machine, without leaks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from board_bundles import ort_library

from attnc.compiler.bundle import Bundle
from attnc.compiler.seeded_input import seeded_input
from attnc.runtimes.cpu.elf import AARCH64, EXECUTABLE, LOAD, WRITABLE, read_elf
from attnc.runtimes.device.build import SOURCES, TARGETS, build


@pytest.mark.parametrize("target", TARGETS)
def test_it_is_small_and_for_its_machine(target: str) -> None:
    path = build(target)
    assert path.stat().st_size < 2_000_000
    assert (read_elf(path).machine == AARCH64) == target.endswith("aarch64")


def test_androids_asks_for_what_android_has() -> None:
    path = build("android-aarch64")
    elf = read_elf(path)
    assert set(elf.needed) == {"libc.so", "libdl.so"}
    assert b"/system/bin/linker64\0" in path.read_bytes()
    assert not elf.text_relocations
    assert "__errno_location" not in elf.imports
    for segment in elf.of_kind(LOAD):
        assert segment.alignment == 16384
        assert not (segment.flags & WRITABLE and segment.flags & EXECUTABLE)


def arguments(bundle: Bundle, folder: Path) -> list[str]:
    array = seeded_input((1, 3, 64, 64), 0)
    array.tofile(folder / "x.raw")
    (spec,) = bundle.manifest.inputs
    kernels = bundle.kernel_library("linux-x86_64")
    words = ["--model", bundle.model_path, "--ort", ort_library(), "--kernels", kernels]
    words += ["--input", f"{spec.name}={folder}/x.raw@1x3x64x64", "--output-dir", folder]
    return [str(word) for word in (*words, "--iterations", 2)]


@pytest.mark.parametrize(
    ("extra", "code", "text"),
    [
        (["--threads", "0"], 2, "not possible: --threads"),
        (["--colour", "red"], 2, "not possible: --colour"),
        (["--input"], 2, "a value is missing"),
        (["--input", "x=y@1xx3"], 2, "not possible: --input"),
        (["--input", "input=/nowhere@1x3x64x64"], 3, "cannot read /nowhere"),
        (["--model", "/nowhere"], 5, "the model does not load"),
        (["--kernels", "/nowhere"], 4, "the kernels do not load"),
        (["--output-dir", "/nowhere"], 3, "cannot write"),
    ],
)
def test_it_says_what_is_wrong(
    bundle: Bundle, tmp_path: Path, extra: list[str], code: int, text: str
) -> None:
    command = [str(build("linux-x86_64")), *arguments(bundle, tmp_path), *extra]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert text in done.stderr


@pytest.mark.slow
def test_it_leaks_nothing(bundle: Bundle, tmp_path: Path) -> None:
    """Under AddressSanitizer and its leak check, with a run that works and one that does not."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no system compiler has AddressSanitizer here")
    runner = tmp_path / "runner"
    flags = ["-std=c++17", "-g", "-O1", "-fsanitize=address,undefined"]
    subprocess.run([compiler, *flags, SOURCES / "runner.cpp", "-ldl", "-o", runner], check=True)
    words = arguments(bundle, tmp_path)
    for extra, code in (([], 0), (["--input", "none=/dev/null@1x3"], 2)):
        command = [str(runner), *words, *extra]
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == code, done.stderr[-3000:]
        assert "Sanitizer" not in done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    got = np.fromfile(tmp_path / report["outputs"][0]["file"], np.float32)
    want = np.load(bundle.path / bundle.manifest.reference[0].path).ravel()
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())
