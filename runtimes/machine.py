"""The machine that figures come from: CPU, its instruction sets, cores, system, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

_X86 = "sse4_2 avx avx2 fma avx512f avx512bw avx512vl avx512_vnni avx_vnni amx_tile"
_ARM = "asimd asimdhp asimddp i8mm bf16 sve sve2"
_PACKAGES = ("attnc", "numpy", "onnxruntime", "torch", "openvino", "executorch")


def machine_info() -> dict[str, Any]:
    """Facts for a report, as JSON values."""
    cpuinfo = _cpuinfo()
    flags = cpuinfo.get("flags", cpuinfo.get("Features", "")).split()
    return {
        "cpu": cpuinfo.get("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "features": [feature for feature in f"{_X86} {_ARM}".split() if feature in flags],
        "cores": available_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": package_versions(_PACKAGES),
    }


def package_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Installed versions, without importing anything; packages that are not here are left out."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n", 1)[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
