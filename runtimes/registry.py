"""The runners, in one explicit list: what `attnc bench --against` knows."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UsageError
from attnc.runtimes.runner import Runner


@dataclass(frozen=True)
class Workload:
    """One model in the forms that runners take; what is costly is made on demand."""

    bundle: Bundle
    plain: Callable[[], Path]  # the plain export of the same source, an .onnx file
    module: Callable[[], Any]  # the source as a torch module, eval mode


@dataclass(frozen=True)
class Entry:
    """How to make one runner; `package` is what has to be installed for it."""

    name: str
    package: str
    install: str
    make: Callable[[Workload, int | None], Runner]


def _attnc(work: Workload, threads: int | None) -> Runner:
    from attnc.runtimes.attnc_runner import AttncRunner

    return AttncRunner(work.bundle, threads)


def _ort(work: Workload, threads: int | None) -> Runner:
    from attnc.runtimes.ort_runner import OrtRunner

    return OrtRunner(work.plain(), threads)


def _torch(work: Workload, threads: int | None) -> Runner:
    from attnc.runtimes.torch_runner import TorchRunner

    return TorchRunner(work.module, threads)


def _torch_compile(work: Workload, threads: int | None) -> Runner:
    from attnc.runtimes.torch_runner import TorchCompileRunner

    return TorchCompileRunner(work.module, threads)


def _openvino(work: Workload, threads: int | None) -> Runner:
    from attnc.runtimes.openvino_runner import OpenVinoRunner

    return OpenVinoRunner(work.plain(), threads)


RUNNERS = (
    Entry("attnc", "onnxruntime", "pip install onnxruntime", _attnc),
    Entry("ort", "onnxruntime", "pip install onnxruntime", _ort),
    Entry("torch", "torch", "pip install torch", _torch),
    Entry("torch-compile", "torch", "pip install torch", _torch_compile),
    Entry("openvino", "openvino", "pip install 'attnc[openvino]'", _openvino),
)
COMPETITORS = tuple(entry.name for entry in RUNNERS if entry.name != "attnc")


def find_runner(name: str) -> Entry:
    """The entry called `name`. Raises UsageError with the nearest name if there is none."""
    for entry in RUNNERS:
        if entry.name == name:
            return entry
    near = difflib.get_close_matches(name, COMPETITORS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"unknown runner {name!r}", remedy=f"{hint}known: {', '.join(COMPETITORS)}")


def why_missing(entry: Entry) -> str | None:
    """None if the runner's package is installed, else what to install."""
    if importlib.util.find_spec(entry.package) is not None:
        return None
    return f"{entry.package} is not installed ({entry.install})"
