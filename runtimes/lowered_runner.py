"""What LiteRT and ExecuTorch have in common: a file that was lowered from PyTorch for one shape.

As competitors they lower the source at their first call; of a bundle they run its own file.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.manifest import TensorSpec
from attnc.runtimes.request import Files
from attnc.runtimes.runner import Feed, Outputs, Runner
from attnc.runtimes.torch_runner import source_module

Call = Callable[[NDArray[Any]], NDArray[Any]]


class LoweredRunner(Runner):
    """Lowers the source at its first call, when the shape is known, and runs the program.

    The program is kept in the folder `scratch`, where the next process finds it: lowering takes
    half a minute. `kind` is the ending of its files.
    """

    kind: ClassVar[str]

    def __init__(self, build: Callable[[], Any], threads: int | None, scratch: Path) -> None:
        self._build, self._threads, self._scratch = build, threads, scratch
        self._file: Path | None = None
        self._call: Call | None = None
        self.inputs = (TensorSpec(name="input", dtype="float32", shape=("batch", 3, "h", "w")),)
        self.outputs = (TensorSpec(name="logits", dtype="float32", shape=("batch", "classes")),)

    @classmethod
    def of_bundle(cls, bundle: Bundle, threads: int | None) -> Self:
        """Runs the bundle's own file. Raises UsageError if it has none of this kind."""
        runner = cls(lambda: None, threads, bundle.path)
        for entry in bundle.manifest.formats:
            if entry.format == cls.kind:
                runner._file = bundle.path / entry.model
                runner.inputs, runner.outputs = bundle.manifest.inputs, bundle.manifest.outputs
                return runner
        raise UsageError(
            f"the bundle has no model.{cls.kind}",
            where=str(bundle.path),
            remedy=f"export it with --format {cls.kind}",
        )

    @classmethod
    def of_files(cls, files: Files, threads: int | None) -> Self:
        """The competitor that the benchmark times."""
        return cls(lambda: source_module(files), threads, Path(files.scratch))

    @abstractmethod
    def load(self, path: Path) -> Call:
        """The program in a file as a function of one array."""

    @classmethod
    @abstractmethod
    def lower(cls, module: Any, picture: Any) -> bytes:
        """The program of a module for pictures like this one; UnsupportedError if there is none."""

    def infer(self, feed: Feed) -> Outputs:
        """Run the program on a picture of the size it was lowered for, which the first one sets."""
        array = feed[self.inputs[0].name]
        if self._call is None:
            self._call = self.load(self._file or self._lowered(array))
        return {self.outputs[0].name: np.array(self._call(array))}

    def deactivate(self) -> None:
        """Drop the program."""
        self._call = None

    def _lowered(self, array: NDArray[Any]) -> Path:
        import torch

        name = "x".join(str(size) for size in array.shape)
        path = self._scratch / f"{self.name}-{name}.{self.kind}"
        if not path.is_file():
            partial = path.with_suffix(".partial")
            partial.write_bytes(self.lower(self._build(), torch.from_numpy(array)))
            partial.replace(path)
        return path


def cannot_lower(runtime: str, error: BaseException) -> UnsupportedError:
    """What a converter says, in one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return UnsupportedError(
        f"{runtime} cannot lower the model: {lines[0]}",
        remedy="leave its format out of --format, and the runtime out of --against",
    )
