"""What is asked of a device: which bundle, how it is run, how long, how hot it may be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import MissingRuntimeError, UnsupportedError, UsageError

TARGETS = ("cpu", "arm64", "android")
_CPUS = re.compile(r"\d{1,2}(-\d{1,2})?(,\d{1,2}(-\d{1,2})?)*")


@dataclass(frozen=True)
class Request:
    """`seconds` of timed runs and at least `iterations`; `cpus` as in 4-7; `patience` in s."""

    ort: Path
    form: Literal["onnx", "ort"] = "onnx"
    threads: int = 1
    cpus: str | None = None
    warmup: int = 5
    iterations: int = 20
    seconds: float = 5.0
    max_temperature: float = 60.0
    patience: float = 600.0
    keep: bool = False

    def check(self) -> None:
        """Raises UsageError for what cannot be meant."""
        if self.cpus is not None and not _CPUS.fullmatch(self.cpus):
            raise UsageError(f"--cpus {self.cpus!r} names no cores", remedy="as in 4-7 or 0,2")


def find_ort(given: Path | None, target: str) -> Path:
    """The ONNX Runtime to send. Raises MissingRuntimeError if none is given or it is not there."""
    if given is None:
        archive = "the arm64-v8a folder of the onnxruntime-android AAR"
        wheel = "onnxruntime/capi/ of the onnxruntime wheel for the device's architecture"
        raise MissingRuntimeError(
            "the device's ONNX Runtime is not given",
            remedy="--ort FILE, the libonnxruntime.so* from "
            + (archive if target == "android" else wheel),
        )
    if not given.is_file():
        raise MissingRuntimeError("there is no such ONNX Runtime library", where=str(given))
    return given


def model_file(bundle: Bundle, form: str) -> Path:
    """The model to send. Raises UnsupportedError for targets without a runner, UsageError where
    the bundle has no model in this form."""
    target = bundle.manifest.target
    if target not in TARGETS:
        raise UnsupportedError(
            f"bundles for {target} do not run on a device by this command",
            where=str(bundle.path),
            remedy=f"export it for {', '.join(TARGETS)}",
        )
    if form == "onnx":
        return bundle.model_path
    entry = bundle.manifest.ort_format
    if entry is None:
        raise UsageError(
            "the bundle has no model in ORT format",
            where=str(bundle.path),
            remedy="export it with --target arm64 or android, or leave out --format ort",
        )
    return bundle.path / entry.model
