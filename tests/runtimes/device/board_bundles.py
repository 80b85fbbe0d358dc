"""Small bundles and the ONNX Runtime library of this machine, for tests on devices."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

import attnc
from attnc.compiler.bundle import Bundle


def ort_library(site: Path | None = None) -> Path:
    """The C library inside an installed wheel."""
    package = site / "onnxruntime" if site else Path(onnxruntime.__file__).parent
    return next((package / "capi").glob("libonnxruntime.so.*"))


def small(folder: Path, target: str = "cpu") -> Bundle:
    """A small SHViT."""
    return attnc.export("shvit_s1", target=target, output=folder, measure=False, image_size=64)
