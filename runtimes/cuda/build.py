"""Compile the CUDA kernels with nvcc: a cubin for a GPU that is known, PTX for those to come.

Each result is kept in the user's cache by the hash of all that it depends on, and the same sources
give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from attnc.compiler.cache import cache_folder
from attnc.compiler.errors import MissingRuntimeError, UsageError
from attnc.runtimes.cuda.kernels import KERNELS, kernel_of
from attnc.runtimes.cuda.launch import PRECISIONS

SOURCES = Path(__file__).resolve().parent / "src"
NVCC_VARIABLE = "ATTNC_NVCC"
FLAGS = ("-std=c++17", "-O3")
#: Turing to Blackwell: data centre, embedded and desktop.
ARCHS = tuple(f"sm_{n}" for n in (75, 80, 86, 87, 89, 90, 100, 110, 120, 121))
OLDEST = "compute_75"
_PARALLEL = 2
_REMEDY = (
    f"install the CUDA toolkit 13, or `pip install nvidia-cuda-nvcc nvidia-cuda-crt "
    f"nvidia-cuda-cccl nvidia-cuda-runtime nvidia-nvvm`, or let {NVCC_VARIABLE} name nvcc"
)


@dataclass(frozen=True)
class _Job:
    """One source for one architecture, real (`sm_89`) or virtual (`compute_75`)."""

    source: str
    arch: str
    precisions: tuple[str, ...]

    @property
    def name(self) -> str:
        family = Path(self.source).stem
        return f"{family}.ptx" if self.kind == "ptx" else f"{family}.{self.arch}.cubin"

    @property
    def kind(self) -> str:
        return "ptx" if self.arch.startswith("compute_") else "cubin"

    @property
    def flags(self) -> tuple[str, ...]:
        macros = (f"-DATTNC_{precision.upper()}" for precision in self.precisions)
        return (f"--{self.kind}", f"-arch={self.arch}", *FLAGS, *macros)


def find_nvcc() -> Path:
    """The CUDA compiler: of `ATTNC_NVCC`, the path, `CUDA_HOME`, or NVIDIA's Python packages.

    Raises MissingRuntimeError if there is none.
    """
    named = os.environ.get(NVCC_VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise MissingRuntimeError(
                f"there is no CUDA compiler at {named}", where=NVCC_VARIABLE, remedy=_REMEDY
            )
        return Path(found)
    for place in _places():
        found = shutil.which(str(place))
        if found is not None:
            return Path(found)
    raise MissingRuntimeError("nvcc, the CUDA compiler, was not found", remedy=_REMEDY)


def _places() -> Iterator[Path]:
    yield Path("nvcc")
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            yield Path(os.environ[variable]) / "bin" / "nvcc"
    packages = Path(sysconfig.get_path("purelib")) / "nvidia"
    yield from sorted(packages.glob("*/bin/nvcc"), reverse=True)
    yield from sorted(packages.glob("*/bin/nvcc.exe"), reverse=True)


def cuda_include() -> Path:
    """The folder with CUDA's headers, beside the compiler. Raises MissingRuntimeError."""
    for parent in find_nvcc().resolve().parents:
        for place in (parent / "include", parent / "targets" / "x86_64-linux" / "include"):
            if (place / "cuda.h").is_file():
                return place
    raise MissingRuntimeError("CUDA's headers are not beside nvcc", remedy=_REMEDY)


def compile_ptx(
    folder: Path,
    operators: Sequence[str],
    arch: str = OLDEST,
    precisions: Sequence[str] = PRECISIONS,
) -> list[Path]:
    """`<family>.ptx` in the folder for all families that these operators need.

    It has the entries of these precisions only. Raises MissingRuntimeError without nvcc,
    UsageError for an operator without a kernel or an unknown precision.
    """
    return _compile(folder, _jobs(operators, [arch], precisions))


def compile_cubins(
    folder: Path,
    operators: Sequence[str],
    archs: Sequence[str],
    precisions: Sequence[str] = PRECISIONS,
) -> list[Path]:
    """`<family>.<arch>.cubin` in the folder, else as `compile_ptx`."""
    return _compile(folder, _jobs(operators, archs, precisions))


def _jobs(operators: Sequence[str], archs: Sequence[str], precisions: Sequence[str]) -> list[_Job]:
    wanted = tuple(name for name in PRECISIONS if name in precisions)
    if len(wanted) != len(set(precisions)) or not wanted:
        raise UsageError(
            f"no kernels of the precision {', '.join(precisions) or 'none'}",
            remedy=f"some of: {', '.join(PRECISIONS)}",
        )
    return [_Job(source, arch, wanted) for source in _sources(operators) for arch in archs]


def _sources(operators: Sequence[str]) -> list[str]:
    found = set()
    for operator in operators:
        kernel = kernel_of(operator)
        if kernel is None:
            known = ", ".join(kernel.operator for kernel in KERNELS)
            raise UsageError(f"{operator} has no CUDA kernel", remedy=f"one of: {known}")
        found.add(kernel.source)
    return sorted(found)


def _compile(folder: Path, jobs: list[_Job]) -> list[Path]:
    nvcc = find_nvcc()
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        kept = list(pool.map(lambda job: _kept(nvcc, job), jobs))
    made = [folder / job.name for job in jobs]
    for source, target in zip(kept, made, strict=True):
        shutil.copyfile(source, target)
    return made


def _kept(nvcc: Path, job: _Job) -> Path:
    """The result in the cache, compiled if it is not there."""
    target = cache_folder() / "cuda-kernels" / _content_hash(nvcc, job) / job.name
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        made = Path(temporary) / job.name
        command = [str(nvcc), *job.flags, job.source, "-o", str(made)]
        done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, check=False)
        if done.returncode:
            text = (done.stdout + done.stderr).strip()
            raise MissingRuntimeError(
                f"nvcc cannot compile {job.source} for {job.arch}:\n{text}",
                where=str(nvcc),
                remedy="a CUDA toolkit that knows this GPU, with the C++ compiler it needs",
            )
        os.replace(made, target)
    return target


def _content_hash(nvcc: Path, job: _Job) -> str:
    digest = hashlib.sha256(repr((job.source, job.flags, _version(nvcc))).encode())
    for path in [*sorted(SOURCES.glob("*.cuh")), SOURCES / job.source]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


@cache
def _version(nvcc: Path) -> str:
    done = subprocess.run([str(nvcc), "--version"], capture_output=True, text=True, check=False)
    return done.stdout
