"""LiteRT (once TensorFlow Lite): models lowered by litert-torch, run by its interpreter."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import MissingRuntimeError, UsageError
from attnc.compiler.trace.quiet import quiet
from attnc.runtimes.lowered_runner import Call, LoweredRunner, cannot_lower
from attnc.runtimes.request import Files


class LitertRunner(LoweredRunner):
    """See `LoweredRunner`. The interpreter has XNNPACK inside; without `threads` it takes one per
    core."""

    name: ClassVar[str] = "litert"
    kind: ClassVar[str] = "tflite"

    def activate(self) -> None:
        """Find the interpreter. Raises MissingRuntimeError if it is not installed."""
        _interpreter_class()

    def load(self, path: Path) -> Call:
        """See `LoweredRunner`. Raises UsageError for a file that LiteRT refuses."""
        threads = self._threads or os.cpu_count() or 1
        try:
            interpreter = _interpreter_class()(str(path), num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UsageError(f"LiteRT cannot load it: {error}", where=str(path)) from error
        given = interpreter.get_input_details()[0]["index"]
        made = interpreter.get_output_details()[0]["index"]

        def call(array: NDArray[Any]) -> NDArray[Any]:
            interpreter.set_tensor(given, array)
            interpreter.invoke()
            return np.asarray(interpreter.get_tensor(made))

        return call

    @classmethod
    def lower(cls, module: Any, picture: Any) -> bytes:
        """See `LoweredRunner`."""
        try:
            with quiet():
                import litert_torch
        except ImportError as error:
            raise MissingRuntimeError(
                f"litert-torch cannot be imported: {error}", remedy="pip install 'attnc[litert]'"
            ) from error
        try:
            with quiet(), tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.tflite"
                litert_torch.convert(module.eval(), (picture,)).export(str(path))
                return path.read_bytes()
        except Exception as error:  # the converter raises whatever its parts raise
            raise cannot_lower("LiteRT", error) from error


def _interpreter_class() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingRuntimeError(
            f"LiteRT cannot be imported: {error}", remedy="pip install 'attnc[litert]'"
        ) from error
    return Interpreter


def from_files(files: Files, threads: int | None) -> LitertRunner:
    """The source in LiteRT, as the benchmark times it."""
    return LitertRunner.of_files(files, threads)


def from_bundle(files: Files, threads: int | None) -> LitertRunner:
    """The bundle's `model.tflite`, as the benchmark times it."""
    return LitertRunner.of_bundle(Bundle.open(Path(files.bundle)), threads)
