"""Build the kernel libraries with the zig compiler from PyPI: `python -m attnc.runtimes.cpu.build`.

No system compiler, no C++ library. A library is rebuilt only if its sources, flags or compiler
changed (a hash beside it says), and the same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .compiler import add_files, compiler_version, print_builds, renew, run_compiler, zig_path
from .toolchain import BENCH_LAYER, COMMON, ORT_LAYER, TARGETS, Target

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "src"
LIBRARIES = HERE / "lib"
DEVELOPMENT = LIBRARIES / "dev"  # benchmark, sanitizer and drill builds, never shipped
STUBS = {
    "c": "void *malloc(unsigned long n){return 0;} void free(void *p){} "
    "char *getenv(const char *n){return 0;} "
    "unsigned long getauxval(unsigned long t){return 0;} "
    "void *memcpy(void *d,const void *s,unsigned long n){return d;} "
    "void *memset(void *d,int c,unsigned long n){return d;} "
    "void *calloc(unsigned long n,unsigned long m){return 0;}",
    "m": "float sqrtf(float x){return x;}",
}


def content_hash(compiler: str, target: Target, extra: list[str]) -> str:
    """Hash of everything that the library's bytes depend on."""
    digest = hashlib.sha256(repr((target, COMMON, extra, STUBS)).encode())
    digest.update(compiler_version(compiler).encode())
    add_files(digest, sorted(SOURCES.iterdir()))
    return digest.hexdigest()


def _driver(compiler: str, triple: str) -> list[str]:
    is_zig = Path(compiler).stem == "zig"
    return [compiler, "c++", "-target", triple] if is_zig else [compiler]


def _compile(
    compiler: str, target: Target, extra: list[str], layer: tuple[str, ...], out: Path
) -> None:
    triple = target.compile_triple or target.triple
    jobs = {**target.sources, **{name: [] for name in layer}}

    def one(name: str) -> None:
        command = [*_driver(compiler, triple), *COMMON, *jobs[name], *extra]
        run_compiler([*command, "-c", name, "-o", str(out / f"{Path(name).stem}.o")], SOURCES)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, sorted(jobs)))


def _make_stubs(compiler: str, target: Target, folder: Path) -> list[str]:
    for name in target.stubs:
        source = folder / f"lib{name}.c"
        source.write_text(STUBS[name])
        command = [compiler, "cc", "-target", "aarch64-linux-musl", "-shared", "-nostdlib", "-w"]
        command += [
            "-ffreestanding",
            f"-Wl,-soname,lib{name}.so",
            "-o",
            f"lib{name}.so",
            source.name,
        ]
        run_compiler(command, folder)
    return [f"./lib{name}.so" for name in target.stubs]


def _link(compiler: str, target: Target, extra: list[str], folder: Path, name: str) -> None:
    objects = sorted(p.name for p in folder.glob("*.o"))
    stubs = _make_stubs(compiler, target, folder)
    driver = _driver(compiler, target.triple)
    if len(driver) > 1:
        driver[1] = "cc"  # the objects need no C++ library
    soname = [f"-Wl,-soname,{name}"] if target.suffix == "so" else []
    run_compiler(
        [*driver, "-shared", *target.link, *extra, *soname, *objects, *stubs, "-o", name], folder
    )


def _drop_link_time(library: Path) -> None:
    """Zero the link time of a Windows library: the same sources must give the same bytes."""
    data = bytearray(library.read_bytes())
    header = int.from_bytes(data[60:64], "little")
    assert data[header : header + 4] == b"PE\0\0"
    data[header + 8 : header + 12] = bytes(4)
    library.write_bytes(data)


def build(
    target_name: str,
    *,
    compiler: str | None = None,
    sanitize: bool = False,
    bench: bool = False,
    drill: bool = False,
    output: Path | None = None,
    force: bool = False,
) -> Path:
    """Build one library if it is out of date; returns its path. Raises BuildError.

    `sanitize` adds AddressSanitizer and UBSan; `bench` builds the C interface for benchmarks and
    harnesses instead of the ONNX Runtime layer; `drill` adds a slow-down that an environment
    variable asks for, for trials of `attnc gate`.
    """
    target = TARGETS[target_name]
    output = output or (DEVELOPMENT if bench or sanitize or drill else LIBRARIES)
    compiler = zig_path() if compiler in (None, "zig") else compiler
    extra = (
        ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
        if sanitize
        else []
    )
    extra += ["-DATTNC_DRILL"] if drill else []
    kinds = {"-bench": bench, "-sanitize": sanitize, "-drill": drill}
    kind = "".join(name for name, wanted in kinds.items() if wanted)
    result = output / f"attnc_kernels{kind}-{target.name}.{target.suffix}"
    wanted = content_hash(compiler, target, extra)

    def make(folder: Path) -> None:
        _compile(compiler, target, extra, BENCH_LAYER if bench else ORT_LAYER, folder)
        _link(compiler, target, extra, folder, result.name)
        if target.suffix == "dll":
            _drop_link_time(folder / result.name)

    return renew(result, wanted, make, force=force)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    from .library import host_target  # not at the top: setup.py imports this file alone

    parser = argparse.ArgumentParser(prog="attnc.runtimes.cpu.build", description=__doc__)
    parser.add_argument("--target", default="native", choices=["native", "all", *TARGETS])
    parser.add_argument("--cc", default="zig", help="`zig` (of the ziglang package) or a path")
    parser.add_argument("--sanitize", action="store_true", help="AddressSanitizer and UBSan")
    parser.add_argument(
        "--bench", action="store_true", help="C interface instead of ONNX Runtime's"
    )
    parser.add_argument("--output", type=Path, help="folder")
    parser.add_argument("--force", action="store_true", help="rebuild even if up to date")
    a = parser.parse_args(arguments)
    names = {"native": [host_target()], "all": list(TARGETS)}.get(a.target, [a.target])
    options = {"compiler": a.cc, "sanitize": a.sanitize, "bench": a.bench}

    def one(name: str) -> Path:
        return build(name, **options, output=a.output, force=a.force)

    return print_builds("kernel", names, one)


if __name__ == "__main__":
    sys.exit(main())
