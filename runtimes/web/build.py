"""Build the web engine with the zig compiler from PyPI: `python -m attnc.runtimes.web.build`.

Four modules from one set of sources: plain or relaxed SIMD, one thread or several. As for the
kernel libraries, the same sources give the same bytes, and only what changed is built.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..cpu.compiler import (
    add_files,
    compiler_version,
    print_builds,
    renew,
    run_compiler,
    zig_path,
)
from ..cpu.toolchain import ORT_LAYER

HERE = Path(__file__).resolve().parent
SOURCES, LIBRARIES = HERE / "src", HERE / "lib"
KERNELS = HERE.parent / "cpu" / "src"
TARGET = ("-target", "wasm32-freestanding")
#: No C library, no C++ library; WebAssembly as every browser with SIMD has it.
COMPILE = (
    *("-std=c++17", "-O3", "-g0", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"),
    *("-fvisibility=hidden", "-fno-sanitize=all", "-fno-stack-protector", "-fno-math-errno"),
    *("-Wall", "-Wextra", "-msimd128", "-mbulk-memory", "-mnontrapping-fptoint", "-msign-ext"),
    "-mmutable-globals",
)
LINK = (
    *("-nostdlib", "-s", "-Wl,--no-entry", "-Wl,--import-memory", "-Wl,--export=__heap_base"),
    *("-Wl,--export=__stack_pointer", "-Wl,-z,stack-size=262144"),
)
#: Of the kernels' tables: ONNX Runtime's own, and products in fewer bits.
NOT_HERE = ("ort_register.cpp", "ort_ops_low.cpp")
RELAXED = ("-mrelaxed-simd",)
THREADS = ("-matomics",)
#: The most that a page may give; it gives what the model needs.
SHARED = ("-matomics", "-mbulk-memory", "-Wl,--shared-memory", "-Wl,--max-memory=4294901760")
BUILDS = {
    "engine-simd.wasm": ((), ()),
    "engine-relaxed.wasm": (RELAXED, ()),
    "engine-simd-threads.wasm": (THREADS, SHARED),
    "engine-relaxed-threads.wasm": ((*RELAXED, *THREADS), SHARED),
}


def sources() -> list[Path]:
    """What is compiled: the engine, the kernels, and the tables of fused operators."""
    tables = [KERNELS / name for name in ORT_LAYER if name not in NOT_HERE]
    return [*sorted(SOURCES.glob("*.cpp")), KERNELS / "kernels_wasm.cpp", *tables]


def content_hash(compiler: str, name: str) -> str:
    """Hash of everything that the module's bytes depend on."""
    digest = hashlib.sha256(repr((TARGET, COMPILE, LINK, BUILDS[name])).encode())
    digest.update(compiler_version(compiler).encode())
    add_files(digest, sorted([*SOURCES.iterdir(), *KERNELS.iterdir()]))
    return digest.hexdigest()


def build(name: str, *, force: bool = False, output: Path = LIBRARIES) -> Path:
    """Build one module if it is out of date; returns its path. Raises BuildError."""
    compiler = zig_path()
    flags, link = BUILDS[name]

    def make(folder: Path) -> None:
        _compile(compiler, flags, folder)
        objects = sorted(path.name for path in folder.glob("*.o"))
        run_compiler([compiler, "cc", *TARGET, *LINK, *link, *objects, "-o", name], folder)

    return renew(output / name, content_hash(compiler, name), make, force=force)


def _compile(compiler: str, flags: tuple[str, ...], folder: Path) -> None:
    def one(source: Path) -> None:
        command = [compiler, "c++", *TARGET, *COMPILE, *flags, "-c", source.name]
        run_compiler([*command, "-o", str(folder / f"{source.stem}.o")], source.parent)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, sources()))


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="attnc.runtimes.web.build", description=__doc__)
    parser.add_argument("--force", action="store_true", help="rebuild even if up to date")
    a = parser.parse_args(arguments)
    return print_builds("engine", BUILDS, lambda name: build(name, force=a.force))


if __name__ == "__main__":
    sys.exit(main())
