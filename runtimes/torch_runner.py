"""PyTorch as a competitor and as the reference: eager, and torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.manifest import TensorSpec
from attnc.runtimes.request import Files
from attnc.runtimes.runner import Feed, Outputs, Runner


class TorchRunner(Runner):
    """Runs the source module in eager mode; `build` makes it when the runner is activated.

    PyTorch has one intra-op pool per process: `threads` is set again before each call.
    """

    name: ClassVar[str] = "torch"

    def __init__(self, build: Callable[[], Any], threads: int | None = None) -> None:
        self._build, self._threads = build, threads
        self._call: Any = None
        self.inputs = (TensorSpec(name="input", dtype="float32", shape=("batch", 3, "h", "w")),)
        self.outputs = (TensorSpec(name="logits", dtype="float32", shape=("batch", "classes")),)

    def activate(self) -> None:
        """Build the module."""
        self._call = self._build()

    def infer(self, feed: Feed) -> Outputs:
        """Run the module without gradients."""
        import torch

        if self._threads is not None and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            logits = self._call(torch.from_numpy(feed["input"]))
        return {"logits": np.asarray(logits.numpy())}

    def deactivate(self) -> None:
        """Drop the module."""
        self._call = None


class TorchCompileRunner(TorchRunner):
    """Runs the source module through torch.compile (Inductor), which needs a C++ compiler."""

    name: ClassVar[str] = "torch-compile"

    def activate(self) -> None:
        """Build and wrap the module; compilation happens at the first call."""
        import torch

        self._call = torch.compile(self._build())


def from_files(files: Files, threads: int | None) -> TorchRunner:
    """The eager runner that the benchmark times."""
    return TorchRunner(lambda: source_module(files), threads)


def compile_files(files: Files, threads: int | None) -> TorchCompileRunner:
    """The compiled runner that the benchmark times."""
    return TorchCompileRunner(lambda: source_module(files), threads)


def source_module(files: Files) -> Any:
    """The bundle's source. Raises UnsupportedError if it is not a torch module."""
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.source import rebuild

    source = rebuild(Bundle.open(Path(files.source)))
    if isinstance(source, Path):
        raise UnsupportedError(
            f"{source.name} is an ONNX file; PyTorch cannot run it",
            remedy="leave torch, torch-compile and executorch out of --against",
        )
    return source
