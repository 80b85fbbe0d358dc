"""The engine's sources built for this machine with AddressSanitizer and UBSan, by g++."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from attnc.runtimes.web.build import sources

NATIVE = Path(__file__).parent / "native"
FLAGS = (
    *("-std=c++17", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "-fno-sanitize=bool",  # a page may give any byte for true
    *("-fno-exceptions", "-fno-rtti", "-Wno-attributes", f"-I{NATIVE}"),
)


@dataclass(frozen=True)
class Given:
    """A program with its weights and all its inputs, as bytes."""

    program: bytes
    weights: bytes
    input: bytes


@dataclass(frozen=True)
class Result:
    """All outputs of a program as bytes; None and a text if the engine refused it."""

    output: bytes | None
    said: str = ""


def build(folder: Path) -> Path:
    """The program that runs programs. Skips the test where g++ is missing."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++, which has AddressSanitizer, is on the PATH")
    parts = [path for path in sources() if path.name != "host.cpp"] + [NATIVE / "main.cpp"]

    def compile_one(source: Path) -> Path:
        made = folder / f"{source.stem}.o"
        subprocess.run([compiler, *FLAGS, "-c", source, "-o", made], check=True)
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, parts))
    subprocess.run([compiler, *FLAGS, *objects, "-o", folder / "native"], check=True)
    return folder / "native"


def run_all(binary: Path, folder: Path, given: Sequence[Given]) -> list[Result]:
    """One result for each. Fails with the sanitizer's words, and the number of the case."""
    for index, one in enumerate(given):
        for suffix in ("program", "weights", "input"):
            (folder / f"{index}.{suffix}").write_bytes(getattr(one, suffix))
    environment = {
        **os.environ,
        "ASAN_OPTIONS": "detect_leaks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    done = subprocess.run(
        [str(binary), str(folder), str(len(given))],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return [_result(folder / str(index)) for index in range(len(given))]


def _result(at: Path) -> Result:
    refused, output = at.with_suffix(".error"), at.with_suffix(".output")
    if refused.exists():
        return Result(None, refused.read_text(encoding="utf-8", errors="replace"))
    return Result(output.read_bytes())


def arrays(data: bytes, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs one after the other, of these types and sizes."""
    found, at = [], 0
    for array in like:
        found.append(np.frombuffer(data[at : at + array.nbytes], array.dtype).reshape(array.shape))
        at += array.nbytes
    return found
