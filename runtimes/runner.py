"""What every runner does: activate, infer, deactivate; and the checks of what it is fed.

`run` is `infer` with its input checked, for people; the benchmark calls `infer`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import TensorSpec

Feed = Mapping[str, NDArray[Any]]
Outputs = dict[str, NDArray[Any]]


class Runner(ABC):
    """A model that is ready to run in one runtime.

    `activate` loads it, `infer` runs it, `deactivate` frees it; also a context manager.
    """

    name: ClassVar[str]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @abstractmethod
    def activate(self) -> None:
        """Load the model. Raises MissingRuntimeError if the runtime is not installed."""

    @abstractmethod
    def infer(self, feed: Feed) -> Outputs:
        """Run on arrays that fit `inputs`; nothing is checked here."""

    @abstractmethod
    def deactivate(self) -> None:
        """Free the model; does nothing if it is not active."""

    def run(self, feed: Feed) -> Outputs:
        """Run on arrays by input name; returns arrays by output name.

        Raises UsageError if a name, a type or a shape is not what the model takes.
        """
        check_feed(feed, self.inputs)
        return self.infer(feed)

    def __enter__(self) -> Self:
        self.activate()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.deactivate()


def check_feed(feed: Feed, inputs: tuple[TensorSpec, ...]) -> None:
    """Raise UsageError naming the first input that is missing, unknown, or does not fit."""
    wanted = {spec.name for spec in inputs}
    if unknown := sorted(set(feed) - wanted):
        raise UsageError(
            f"the model has no input {unknown[0]!r}", remedy=f"its inputs are {sorted(wanted)}"
        )
    for spec in inputs:
        if spec.name not in feed:
            raise UsageError(f"input {spec.name!r} is missing", remedy=f"give {describe(spec)}")
        _check_array(feed[spec.name], spec)


def describe(spec: TensorSpec) -> str:
    """`input: float32 [batch, 3, 224, 224]`."""
    return f"{spec.name}: {spec.dtype} [{', '.join(str(size) for size in spec.shape)}]"


def _check_array(array: Any, spec: TensorSpec) -> None:
    if not isinstance(array, np.ndarray):
        raise UsageError(
            f"input {spec.name!r} is a {type(array).__name__}, not a NumPy array",
            remedy=f"give {describe(spec)}",
        )
    if str(array.dtype) != spec.dtype:
        raise UsageError(
            f"input {spec.name!r} has type {array.dtype}, the model takes {spec.dtype}",
            remedy=f"convert it: array.astype({spec.dtype!r})",
        )
    fits = len(array.shape) == len(spec.shape) and all(
        size == want if isinstance(want, int) else size > 0
        for size, want in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        raise UsageError(
            f"input {spec.name!r} has shape {list(array.shape)}",
            remedy=f"give {describe(spec)}",
        )
