"""ExecuTorch: programs for its XNNPACK backend, lowered from PyTorch and run from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import MissingRuntimeError
from attnc.runtimes.lowered_runner import Call, LoweredRunner, cannot_lower
from attnc.runtimes.request import Files


class ExecutorchRunner(LoweredRunner):
    """See `LoweredRunner`. XNNPACK's pool is the process's; `threads` sets its size."""

    name: ClassVar[str] = "executorch"
    kind: ClassVar[str] = "pte"
    _runtime: Any = None

    def activate(self) -> None:
        """Start the runtime. Raises MissingRuntimeError if it is not installed."""
        try:
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime
        except ImportError as error:
            raise MissingRuntimeError(
                f"ExecuTorch cannot be imported: {error}",
                remedy="pip install 'attnc[executorch]'",
            ) from error
        if self._threads is not None:
            portable_lib._unsafe_reset_threadpool(self._threads)
        self._runtime = Runtime.get()

    def deactivate(self) -> None:
        """Drop the program."""
        super().deactivate()
        self._runtime = None

    def load(self, path: Path) -> Call:
        """See `LoweredRunner`."""
        import torch

        method = self._runtime.load_program(path).load_method("forward")

        def call(array: NDArray[Any]) -> NDArray[Any]:
            (found,) = method.execute([torch.from_numpy(array)])
            return np.asarray(found.numpy())

        return call

    @classmethod
    def lower(cls, module: Any, picture: Any) -> bytes:
        """See `LoweredRunner`."""
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        try:
            with torch.no_grad():
                program = torch.export.export(module, (picture,), strict=False)
            edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            return bytes(edge.to_executorch().buffer)
        except Exception as error:  # exporter, partitioner and emitter raise whatever they meet
            raise cannot_lower("ExecuTorch", error) from error


def from_files(files: Files, threads: int | None) -> ExecutorchRunner:
    """The source in ExecuTorch, as the benchmark times it."""
    return ExecutorchRunner.of_files(files, threads)


def from_bundle(files: Files, threads: int | None) -> ExecutorchRunner:
    """The bundle's `model.pte`, as the benchmark times it."""
    return ExecutorchRunner.of_bundle(Bundle.open(Path(files.bundle)), threads)
