"""ExecuTorch as a competitor: the source lowered to its XNNPACK backend, run from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from attnc.compiler.errors import MissingRuntimeError, UnsupportedError
from attnc.compiler.manifest import TensorSpec
from attnc.runtimes.request import Files
from attnc.runtimes.runner import Feed, Outputs, Runner
from attnc.runtimes.torch_runner import source_module


class ExecutorchRunner(Runner):
    """Lowers the source at its first call, when the shape is known, and runs the program.

    The program is kept in the folder `scratch`, where the next process finds it: lowering takes
    half a minute. XNNPACK's pool is the process's; `threads` sets its size.
    """

    name: ClassVar[str] = "executorch"

    def __init__(self, build: Callable[[], Any], threads: int | None, scratch: Path) -> None:
        self._build, self._threads, self._scratch = build, threads, scratch
        self._runtime: Any = None
        self._method: Any = None
        self.inputs = (TensorSpec(name="input", dtype="float32", shape=("batch", 3, "h", "w")),)
        self.outputs = (TensorSpec(name="logits", dtype="float32", shape=("batch", "classes")),)

    def activate(self) -> None:
        """Start the runtime. Raises MissingRuntimeError if it is not installed."""
        try:
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime
        except ImportError as error:
            raise MissingRuntimeError(
                f"ExecuTorch cannot be imported: {error}", remedy="pip install 'attnc[peers]'"
            ) from error
        if self._threads is not None:
            portable_lib._unsafe_reset_threadpool(self._threads)
        self._runtime = Runtime.get()

    def infer(self, feed: Feed) -> Outputs:
        """Run the program on a picture of the size it was lowered for, which the first one sets."""
        import torch

        picture = torch.from_numpy(feed["input"])
        if self._method is None:
            self._method = self._load(picture)
        (logits,) = self._method.execute([picture])
        return {"logits": np.array(logits.numpy())}

    def deactivate(self) -> None:
        """Drop the program."""
        self._method = self._runtime = None

    def _load(self, picture: Any) -> Any:
        name = "x".join(str(size) for size in picture.shape)
        path = self._scratch / f"executorch-{name}.pte"
        if not path.is_file():
            partial = path.with_suffix(".partial")
            partial.write_bytes(lower(self._build(), picture))
            partial.replace(path)
        return self._runtime.load_program(path).load_method("forward")


def lower(module: Any, picture: Any) -> bytes:
    """The .pte program of a module for pictures like this one.

    Raises UnsupportedError with what ExecuTorch says if it cannot export or lower the module.
    """
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    try:
        with torch.no_grad():
            program = torch.export.export(module, (picture,), strict=False)
        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        return bytes(edge.to_executorch().buffer)
    except Exception as error:  # exporter, partitioner and emitter raise whatever they meet
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnsupportedError(
            f"ExecuTorch cannot lower the model: {first}",
            remedy="leave executorch out of --against",
        ) from error


def from_files(files: Files, threads: int | None) -> ExecutorchRunner:
    """The runner that the benchmark times."""
    return ExecutorchRunner(lambda: source_module(files), threads, Path(files.scratch))
