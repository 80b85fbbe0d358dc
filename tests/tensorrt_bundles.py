"""What the TensorRT commands' tests share: the small network, and readings of a report."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attnc.compiler.bundle import READINGS_FILE, file_sha256
from attnc.compiler.errors import AttncError
from attnc.compiler.manifest import content_digest
from attnc.runtimes.cuda.build import find_nvcc

CHECK_FAILED, USAGE = 1, 2
RTX = importlib.util.find_spec("tensorrt_rtx") is not None
needs_rtx = pytest.mark.skipif(not RTX, reason="the package tensorrt-rtx is not installed")
NETWORK = ["glnet_variations:network", "--option", "name=plain", "--image-size", "56"]
TARGET = ["--target", "tensorrt", "--profile", "rtx4090"]
BUILD_KEYS = {
    "sm",
    "precision",
    "batch",
    "kernels",
    "fused_attentions",
    "plugin_layers",
    "moving_kernels",
    "plan_bytes",
}


def has_nvcc() -> bool:
    try:
        find_nvcc()
    except AttncError:
        return False
    return True


needs_nvcc = pytest.mark.skipif(not has_nvcc(), reason="there is no CUDA compiler")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != READINGS_FILE
    }


def reseal(folder: Path, change: Callable[[dict[str, Any]], None] = lambda document: None) -> None:
    """Give the manifest the hashes of the files as they are now."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    for entry in document["files"]:
        file = folder / entry["path"]
        entry.update(sha256=file_sha256(file), bytes=file.stat().st_size)
    document["digest"] = content_digest(document)
    path.write_text(json.dumps(document))


def report_of(done: Any, code: int = 0) -> dict[str, Any]:
    assert done.code == code, done.err
    document = json.loads(done.out)
    assert isinstance(document, dict)
    return document


def by_name(report: dict[str, Any]) -> dict[str, Any]:
    return {check["name"]: check for check in report["checks"]}


def without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package be missing."""
    found = importlib.util.find_spec

    def hidden(name: str, package: str | None = None) -> Any:
        return None if name.startswith("tensorrt") else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", hidden)
