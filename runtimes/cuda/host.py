"""Run the CUDA kernels on the processor, so that their sources are tested where no GPU is.

An ordinary C++ compiler builds the same files through `src/host_shim.h`. Slow, and for tests only.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.cache import cache_folder
from attnc.compiler.errors import MissingRuntimeError
from attnc.runtimes.cuda.launch import CudaKernel, Launch, launch_of

Array = NDArray[Any]

SOURCES = Path(__file__).resolve().parent / "src"
FLAGS = (
    "-std=c++20",
    "-O2",
    "-fPIC",
    "-shared",
    "-U_FORTIFY_SOURCE",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",
)
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
#: What lies around each output, to see that nothing is written there.
GUARD = 64
WHOLE_POISON = -(2**62)
_TYPES: Mapping[str, Any] = {"fp32": np.float32, "fp16": np.float16, "bf16": np.uint16}


def compiler_path() -> str:
    """The C++ compiler. Raises MissingRuntimeError if there is none."""
    found = shutil.which("g++")
    if found is None:
        raise MissingRuntimeError(
            "the CUDA kernels cannot be tried on the processor: there is no g++",
            remedy="install GCC 12 or newer",
        )
    return found


@cache
def build(*, sanitize: bool = False) -> Path:
    """The library of all kernels for the processor, built if its sources or flags changed."""
    compiler, flags = compiler_path(), FLAGS + (SANITIZE if sanitize else ())
    library = cache_folder() / "cuda-host" / f"{_content_hash(compiler, flags)}.so"
    if library.is_file():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    sources = sorted(path.name for path in SOURCES.glob("*.cu"))
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [compiler, *flags, "-x", "c++", *sources, "-o", str(made)]
        subprocess.run(command, cwd=SOURCES, check=True)
        os.replace(made, library)
    return library


def _content_hash(compiler: str, flags: Sequence[str]) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    digest = hashlib.sha256(repr((flags, version)).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def rounded(array: Array, precision: str) -> Array:
    """The float32 values that remain in this precision; whole numbers stay as they are."""
    if np.issubdtype(array.dtype, np.integer):
        return array
    return decoded(encoded(array, precision), precision)


def encoded(array: Array, precision: str) -> Array:
    """The array as the kernels take it: float32, float16, or the bits of bfloat16."""
    values = np.ascontiguousarray(array, np.float32)
    if precision != "bf16":
        return np.asarray(values.astype(_TYPES[precision]))
    bits = values.view(np.uint32)
    even = (bits >> 16) & 1
    return np.asarray(((bits + np.uint32(0x7FFF) + even) >> 16).astype(np.uint16))


def decoded(array: Array, precision: str) -> Array:
    """The inverse of `encoded`, in float32."""
    if precision != "bf16":
        return np.asarray(array.astype(np.float32))
    return np.asarray((array.astype(np.uint32) << 16).view(np.float32))


def run_on_host(
    kernel: CudaKernel,
    precision: str,
    inputs: Sequence[Array],
    attributes: Mapping[str, Any],
    library: Path | None = None,
) -> list[Array]:
    """The outputs of one launch: float32, or int64 where the kernel says so.

    The inputs are rounded to the precision first; what the kernel does not write comes back as
    NaN. Raises RuntimeError if it writes where it must not.
    """
    launch = launch_of(kernel, [array.shape for array in inputs], attributes)
    fed = [given(kernel, i, array, precision) for i, array in enumerate(inputs)]
    made = [poisoned(kernel, i, shape, precision) for i, shape in enumerate(launch.outputs)]
    inner = [array[GUARD : array.size - GUARD] for array in made]
    before = [array.copy() for array in fed]
    _call(ctypes.CDLL(str(library or build())), f"{kernel.entry}_{precision}", launch, fed, inner)
    if any(not np.array_equal(_bits(a), _bits(b)) for a, b in zip(before, fed, strict=True)):
        raise RuntimeError(f"{kernel.entry} wrote to an input")
    for i, (array, shape) in enumerate(zip(made, launch.outputs, strict=True)):
        fresh = poisoned(kernel, i, shape, precision)
        if any((_bits(array) != _bits(fresh))[cut].any() for cut in guards()):
            raise RuntimeError(f"{kernel.entry} wrote outside of its output {i}")
    return [
        taken(kernel, i, array, shape, precision)
        for i, (array, shape) in enumerate(zip(inner, launch.outputs, strict=True))
    ]


def given(kernel: CudaKernel, index: int, array: Array, precision: str) -> Array:
    """An input as the kernel takes it."""
    if index in kernel.integer_inputs:
        return np.ascontiguousarray(array, np.int64)
    return encoded(array, precision)


def poisoned(kernel: CudaKernel, index: int, shape: Sequence[int], precision: str) -> Array:
    """An output with guards around it, all of it poison."""
    count = int(np.prod(shape)) + 2 * GUARD
    if index in kernel.integer_outputs:
        return np.full(count, WHOLE_POISON, np.int64)
    return encoded(np.full(count, np.nan, np.float32), precision)


def guards() -> tuple[slice, slice]:
    """What of such an output a kernel must not touch."""
    return slice(0, GUARD), slice(-GUARD, None)


def _bits(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8).reshape(-1, array.itemsize)


def taken(
    kernel: CudaKernel, index: int, array: Array, shape: Sequence[int], precision: str
) -> Array:
    """An output, without its guards, as float32 or int64 of its shape."""
    values = array if index in kernel.integer_outputs else decoded(array, precision)
    return values.reshape(shape)


def _call(
    library: ctypes.CDLL, entry: str, launch: Launch, inputs: list[Array], outputs: list[Array]
) -> None:
    """As cuLaunchKernel: an array of pointers to the arguments."""
    pointers = [[ctypes.c_void_p(a.ctypes.data) for a in group] for group in (inputs, outputs)]
    arguments = [*pointers[0], *map(ctypes.c_int32, launch.scalars), *pointers[1]]
    places = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
    grid = (ctypes.c_uint * 3)(*launch.grid)
    getattr(library, f"{entry}_host")(grid, launch.block, launch.shared_bytes, places)
