"""The runners, in one explicit list: what `attnc bench --against` knows."""

from __future__ import annotations

import difflib
import importlib.util
import shutil
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
    scratch: Path  # a folder for what a runner compiles once and loads often


@dataclass(frozen=True)
class LeftOut:
    """A competitor that is not timed, why, and what would change that."""

    runner: str
    reason: str
    remedy: str
    threads: int | None = None
    batch: int | None = None


@dataclass(frozen=True)
class Entry:
    """How to make one runner; `package` is what has to be installed for it.

    `factory` is `package.module:function`, called in a child process with (Files, threads).
    `picky` marks runtimes that cannot run every model, or take minutes to compile one: they are
    tried before anything is timed. `compiles` marks those that need a C++ compiler.
    """

    name: str
    package: str
    install: str
    factory: str
    takes_plain: bool = False
    picky: bool = False
    compiles: bool = False


_HERE = "attnc.runtimes"
_PEERS = "pip install 'attnc[peers]'"
_EXECUTORCH = "pip install 'attnc[executorch]'"
_LITERT = "pip install 'attnc[litert]'"
_ET = f"{_HERE}.executorch_runner"
RUNNERS = (
    Entry("attnc", "onnxruntime", "pip install onnxruntime", f"{_HERE}.attnc_runner:from_files"),
    Entry("ort", "onnxruntime", "pip install onnxruntime", f"{_HERE}.ort_runner:from_files", True),
    Entry(
        "ort-int8",
        "onnx",
        "pip install onnx",
        f"{_HERE}.ort_int8_runner:from_files",
        True,
        picky=True,
    ),
    Entry("torch", "torch", "pip install torch", f"{_HERE}.torch_runner:from_files"),
    Entry(
        "torch-compile",
        "torch",
        "pip install torch",
        f"{_HERE}.torch_runner:compile_files",
        picky=True,
        compiles=True,
    ),
    Entry("openvino", "openvino", _PEERS, f"{_HERE}.openvino_runner:from_files", True, picky=True),
    Entry("executorch", "executorch", _EXECUTORCH, f"{_ET}:from_files", picky=True),
    Entry("attnc-pte", "executorch", _EXECUTORCH, f"{_ET}:from_bundle", picky=True),
    Entry("litert", "litert_torch", _LITERT, f"{_HERE}.litert_runner:from_files", picky=True),
    Entry(
        "attnc-tflite",
        "ai_edge_litert",
        _LITERT,
        f"{_HERE}.litert_runner:from_bundle",
        picky=True,
    ),
)
#: What torch.compile looks for, by default.
COMPILERS = ("c++", "g++", "clang++", "cl")
COMPETITORS = tuple(entry.name for entry in RUNNERS if entry.name != "attnc")


def find_runner(name: str) -> Entry:
    """The entry called `name`. Raises UsageError with the nearest name if there is none."""
    for entry in RUNNERS:
        if entry.name == name:
            return entry
    near = difflib.get_close_matches(name, COMPETITORS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"unknown runner {name!r}", remedy=f"{hint}known: {', '.join(COMPETITORS)}")


def why_missing(entry: Entry) -> LeftOut | None:
    """None if what the runner needs is installed, else what is missing and how to get it."""
    if importlib.util.find_spec(entry.package) is None:
        return LeftOut(entry.name, f"{entry.package} is not installed", entry.install)
    if entry.compiles and not any(map(shutil.which, COMPILERS)):
        return LeftOut(
            entry.name, "it needs a C++ compiler, none is on the PATH", "install g++ or clang"
        )
    return None
