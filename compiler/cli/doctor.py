"""`attnc doctor`: what is here, and what is missing."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import typer

from attnc.compiler.cli.options import JsonOption

Status = Literal["ok", "missing", "optional"]


@dataclass(frozen=True)
class Finding:
    """One line: `missing` means that attnc cannot work here."""

    name: str
    status: Status
    detail: str


def doctor(json: JsonOption = None) -> None:
    """Check Python, packages, CPU and the kernel library; exit code 4 if something is missing."""
    from attnc.compiler.cli.console import print_table, write_json
    from attnc.compiler.errors import ExitCode

    findings = [finding for look in _LOOKS for finding in look()]
    ok = all(finding.status != "missing" for finding in findings)
    write_json({"ok": ok, "findings": [asdict(finding) for finding in findings]}, json)
    if json != "-":
        rows = [[finding.name, finding.status, finding.detail] for finding in findings]
        print_table("", ["what", "status", "detail"], rows)
    if not ok:
        raise typer.Exit(ExitCode.MISSING_RUNTIME)


def _python() -> list[Finding]:
    enough = sys.version_info >= (3, 11)
    detail = f"{platform.python_version()} at {sys.executable}"
    return [Finding("python", "ok" if enough else "missing", detail)]


def _cpu() -> list[Finding]:
    from attnc.runtimes.machine import machine_info

    info = machine_info()
    features = ", ".join(info["features"]) or "no features known"
    return [Finding("cpu", "ok", f"{info['cpu']}, {info['cores']} core(s), {features}")]


def _packages() -> list[Finding]:
    from attnc.runtimes.machine import package_versions

    required = ("numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "pydantic", "torch")
    optional = {
        "openvino": "attnc bench --against openvino",
        "executorch": "--format pte, attnc bench --against executorch",
        "litert-torch": "attnc export --format tflite",
        "ai-edge-litert": "running .tflite files, attnc bench --against litert",
        "matplotlib": "attnc crossover -o",
        "scikit-learn": "photographs",
        "coremltools": "attnc export --target coreml",
        "wasmtime": "attnc verify and attnc run of web bundles",
        "playwright": "attnc bench of web bundles, in Chromium",
        "tensorrt-rtx": "attnc export --target tensorrt: engines are built, without a GPU",
    }
    versions = package_versions((*required, *optional))
    found = [
        Finding(name, "ok" if name in versions else "missing", versions.get(name, "not installed"))
        for name in required
    ]
    for name, use in optional.items():
        detail = versions.get(name, f"not installed; for {use}")
        found.append(Finding(name, "ok" if name in versions else "optional", detail))
    return found


def _kernels() -> list[Finding]:
    from attnc.compiler.errors import AttncError
    from attnc.runtimes.cpu.library import host_target, library_path
    from attnc.runtimes.onnx_session import session_options

    try:
        library = library_path(host_target())
        session_options(library=library)
    except AttncError as error:
        remedy = f" ({error.remedy})" if error.remedy else ""
        return [Finding("kernel library", "missing", error.message + remedy)]
    return [Finding("kernel library", "ok", f"{library} loads")]


def _compilers() -> list[Finding]:
    zig = importlib.util.find_spec("ziglang") is not None
    system = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    return [
        Finding(
            "zig", "ok" if zig else "optional", "here" if zig else "not installed; builds kernels"
        ),
        Finding(
            "C++ compiler",
            "ok" if system else "optional",
            system or "none on the PATH; for attnc bench --against torch-compile",
        ),
    ]


def _browser() -> list[Finding]:
    """What opens pages, and what WebGPU and threads are tried in."""
    from attnc.compiler.errors import AttncError
    from attnc.runtimes.web.browser import chromium

    try:
        return [Finding("chromium", "ok", str(chromium()))]
    except AttncError as error:
        return [Finding("chromium", "optional", f"{error.message}; for attnc bench of web bundles")]


def _cuda() -> list[Finding]:
    """The compiler of the CUDA kernels, and the GPUs here."""
    from attnc.compiler.errors import AttncError
    from attnc.runtimes.cuda.build import find_nvcc
    from attnc.runtimes.cuda.device import find_devices

    try:
        nvcc = Finding("nvcc", "ok", str(find_nvcc()))
    except AttncError as error:
        nvcc = Finding("nvcc", "optional", f"{error.message}; for attnc export --target tensorrt")
    gpus = [f"{device.name} ({device.capability})" for device in find_devices()]
    held = ", ".join(gpus) or "none; engines are built but not run"
    return [nvcc, Finding("NVIDIA GPU", "ok" if gpus else "optional", held)]


_LOOKS: tuple[Callable[[], list[Finding]], ...] = (
    _python,
    _cpu,
    _packages,
    _kernels,
    _compilers,
    _browser,
    _cuda,
)
