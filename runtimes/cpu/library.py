"""Where the kernel library is, which target this machine is, and what its processor has."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from attnc.compiler.errors import MissingRuntimeError

from .toolchain import TARGETS

LIBRARIES = Path(__file__).resolve().parent / "lib"


def host_target() -> str:
    """The target name of this machine. Raises MissingRuntimeError where there is none."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    system = {"darwin": "macos", "win32": "windows", "android": "android"}.get(
        sys.platform, "linux"
    )
    name = f"{system}-{machine}"
    if name not in TARGETS:
        raise MissingRuntimeError(
            f"no kernels exist for {name}",
            remedy="use one of " + ", ".join(TARGETS) + ", or export with --no-kernels",
        )
    return name


def library_path(target: str | None = None) -> Path:
    """The kernel library of `target` (default: this machine).

    Raises MissingRuntimeError if it has not been built or the target is unknown.
    """
    name = target or host_target()
    if name not in TARGETS:
        raise MissingRuntimeError(
            f"no kernels exist for {name}", remedy="use one of " + ", ".join(TARGETS)
        )
    path = LIBRARIES / f"attnc_kernels-{name}.{TARGETS[name].suffix}"
    if not path.is_file():
        raise MissingRuntimeError(
            f"the kernel library for {name} is not built",
            where=str(path),
            remedy=f"python -m attnc.runtimes.cpu.build --target {name}",
        )
    return path


def host_libraries(resolve: Callable[[str], Iterable[str]]) -> dict[str, Path]:
    """The libraries of the platforms that `resolve` names, given this machine's name."""
    return {name: library_path(name) for name in resolve(host_target())}


def cpu_features() -> list[str]:
    """Instruction sets of this processor that have kernels, best first, `plain` last."""
    return [name for name in cpu_sets() if "+" not in name]


def cpu_sets() -> list[str]:
    """All names that ATTNC_CPU_ISA takes on this processor, best first.

    What follows a plus are extensions that only the products in fewer bits use.
    """
    flags = cpu_flags()
    if platform.machine().lower() in ("arm64", "aarch64"):
        return _arm_sets(flags)
    found = []
    if {"avx512f", "avx512dq", "avx512bw", "avx512vl", "fma", "f16c"} <= flags:
        found += ["avx512+vnni"] if "avx512_vnni" in flags else []
        found.append("avx512")
    if {"avx2", "fma", "f16c"} <= flags:
        found.append("avx2")
    return [*found, "plain"]


def _arm_sets(flags: set[str]) -> list[str]:
    half, dot = "asimdhp" in flags, "asimddp" in flags
    if sys.platform == "darwin":
        half = dot = True
    found = ["neon+fp16+dot"] if half and dot else []
    found += ["neon+dot"] if dot else []
    found += ["neon+fp16"] if half else []
    return [*found, "neon", "plain"]


def cpu_flags() -> set[str]:
    """What Linux says of the first processor; empty elsewhere."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return set(line.split(":", 1)[1].split())
    return set()


def register(options: Any, library: Path | None = None) -> Any:
    """Register the kernels in onnxruntime.SessionOptions `options`; returns the same object.

    Raises MissingRuntimeError if the library is missing, is for another machine, or refuses
    (environment variable ATTNC_CPU_ISA names a set that this processor lacks).
    """
    path = library or library_path()
    try:
        options.register_custom_ops_library(str(path))
    except Exception as error:  # onnxruntime raises its own types, which differ by version
        raise MissingRuntimeError(
            f"the kernel library could not be loaded: {error}",
            where=str(path),
            remedy="rebuild it: python -m attnc.runtimes.cpu.build --force",
        ) from error
    return options
