"""Build the runner for each platform: `python -m attnc.runtimes.device.build`.

With the compiler of the kernels, in under a second each. For Android, whose libc no package index
has, musl's headers serve: the runner uses only what both libraries lay out alike.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from ..cpu.compiler import (
    add_files,
    compiler_version,
    print_builds,
    renew,
    run_compiler,
    zig_path,
)

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "src"
RUNNERS = HERE / "lib"
FLAGS = [
    "-std=c++17",
    "-Os",
    "-g0",
    "-fPIE",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-fno-sanitize=all",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-Wall",
    "-Wextra",
    "-Werror",
]
#: What the runner takes from Android's libraries: the linker only has to see the names.
STUBS = {
    "c": "malloc realloc free memcpy memset strlen strcmp strcspn strchr strrchr strstr snprintf "
    "strtol strtoll strtod atoll open read write close _exit clock_gettime sched_setaffinity "
    "__libc_init",
    "dl": "dlopen dlsym dlclose dlerror",
}


@dataclass(frozen=True)
class Target:
    """A platform: what it compiles and links as, and the files beside the runner's own."""

    compile: str
    link: str
    flags: tuple[str, ...]
    sources: tuple[str, ...] = ("runner.cpp",)
    stubs: tuple[str, ...] = ()


TARGETS = {
    "linux-x86_64": Target("x86_64-linux-gnu.2.17", "x86_64-linux-gnu.2.17", ("-ldl",)),
    "linux-aarch64": Target("aarch64-linux-gnu.2.17", "aarch64-linux-gnu.2.17", ("-ldl",)),
    "android-aarch64": Target(
        "aarch64-linux-musl",
        "aarch64-linux-android",
        (
            "-nostdlib",
            "-Wl,-z,max-page-size=16384",
            "-Wl,--dynamic-linker=/system/bin/linker64",
        ),
        ("runner.cpp", "start_android.cpp"),
        ("c", "dl"),
    ),
}


def build(name: str, output: Path = RUNNERS) -> Path:
    """Build one runner if it is out of date; returns its path. Raises BuildError."""
    target, zig = TARGETS[name], zig_path()
    result = output / f"attnc-runner-{name}"

    def make(folder: Path) -> None:
        objects = [_compile(zig, target, source, folder) for source in target.sources]
        stubs = [_stub(zig, library, folder) for library in target.stubs]
        command = [zig, "cc", "-target", target.link, "-s", "-pie", *target.flags]
        run_compiler([*command, *objects, *stubs, "-o", result.name], folder)

    return renew(result, _content_hash(target, zig), make)


def _content_hash(target: Target, zig: str) -> str:
    digest = hashlib.sha256(repr((target, FLAGS, STUBS, compiler_version(zig))).encode())
    add_files(digest, (*sorted(SOURCES.iterdir()), HERE.parent / "cpu" / "src" / "ort_abi.h"))
    return digest.hexdigest()


def _compile(zig: str, target: Target, source: str, folder: Path) -> str:
    name = f"{Path(source).stem}.o"
    command = [zig, "c++", "-target", target.compile, *FLAGS]
    run_compiler([*command, "-c", source, "-o", str(folder / name)], SOURCES)
    return name


def _stub(zig: str, library: str, folder: Path) -> str:
    """A library of empty functions, for the linker to find the names in."""
    source, name = folder / f"{library}.c", f"lib{library}.so"
    source.write_text("".join(f"void {symbol}(void) {{}}\n" for symbol in STUBS[library].split()))
    flags = ["-shared", "-nostdlib", "-w", "-ffreestanding", "-fno-builtin"]
    command = [zig, "cc", "-target", "aarch64-linux-musl", *flags, f"-Wl,-soname,{name}"]
    run_compiler([*command, "-o", name, source.name], folder)
    return f"./{name}"


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="attnc.runtimes.device.build", description=__doc__)
    parser.add_argument("--target", default="all", choices=["all", *TARGETS])
    chosen = parser.parse_args(arguments).target
    return print_builds("runner", TARGETS if chosen == "all" else [chosen], build)


if __name__ == "__main__":
    sys.exit(main())
