"""The runners, in one explicit list: what `attnc bench --against` knows."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UsageError


@dataclass(frozen=True)
class Workload:
    """One model in the forms that runners take; what is costly is made on demand."""

    bundle: Bundle
    source: Bundle  # says how the source module is built
    plain: Callable[[], Path]  # the plain export of the same source, an .onnx file


@dataclass(frozen=True)
class Entry:
    """How to make one runner; `package` is what has to be installed for it.

    `factory` is `package.module:function`, called in a child process with (Files, threads).
    """

    name: str
    package: str
    install: str
    factory: str
    takes_plain: bool = False


_HERE = "attnc.runtimes"
RUNNERS = (
    Entry("attnc", "onnxruntime", "pip install onnxruntime", f"{_HERE}.attnc_runner:from_files"),
    Entry("ort", "onnxruntime", "pip install onnxruntime", f"{_HERE}.ort_runner:from_files", True),
    Entry("torch", "torch", "pip install torch", f"{_HERE}.torch_runner:from_files"),
    Entry("torch-compile", "torch", "pip install torch", f"{_HERE}.torch_runner:compile_files"),
    Entry(
        "openvino",
        "openvino",
        "pip install 'attnc[openvino]'",
        f"{_HERE}.openvino_runner:from_files",
        True,
    ),
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
