"""The source model's stages against the program's values: where the two part, if they do.

A stage is a block of the torch module (an entry of a list, or a direct child). Its output is looked
for among the last values that the program made for it, in the layout that the program holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attnc.runtimes.compare import Comparison, compare
from attnc.runtimes.coreml.program import Operation

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[Any]
#: How many of a stage's last values are looked at: what follows its output may be named after it.
LAST = 4
#: Stages deeper than this are parts of a block.
DEEPEST = 4


@dataclass(frozen=True)
class Stage:
    """How far a stage's output is from the nearest of its values; None if none has its size."""

    name: str
    distance: Comparison | None


def stage_outputs(module: nn.Module, array: NDArray[np.float32]) -> dict[str, Array]:
    """The output of each stage on this input, by the stage's dotted name, in the order they ran."""
    import torch

    found: dict[str, Array] = {}

    def keep(name: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.dim() >= 3:
                found.pop(name, None)  # a module that runs twice counts by its last run
                found[name] = output.detach().numpy().copy()

        return hook

    handles = [part.register_forward_hook(keep(name)) for name, part in _stages(module)]
    try:
        with torch.no_grad():
            module(torch.from_numpy(np.ascontiguousarray(array)))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _stages(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, part in module.named_modules():
        steps = name.split(".")
        if name and len(steps) <= DEEPEST and (len(steps) == 1 or steps[-1].isdigit()):
            yield name, part


class Stages:
    """Watches an evaluation for the stages' outputs: keeps the last values of each."""

    def __init__(
        self, outputs: Mapping[str, Array], origins: Mapping[str, Mapping[str, str]]
    ) -> None:
        self.outputs, self.origins = outputs, origins
        self.kept: dict[str, list[Array]] = {name: [] for name in outputs}

    def __call__(self, operation: Operation, results: tuple[Array, ...]) -> None:
        """See `Evaluator.run`."""
        module = self.origins.get(operation.name, {}).get("module", "")
        steps = module.split(".") if module else []
        for count in range(1, len(steps) + 1):
            values = self.kept.get(".".join(steps[:count]))
            if values is not None:
                values += [result for result in results if result.dtype.kind == "f"]
                del values[:-LAST]

    def compared(self) -> list[Stage]:
        """Each stage with its nearest value."""
        return [Stage(name, _nearest(out, self.kept[name])) for name, out in self.outputs.items()]


def _nearest(output: Array, values: list[Array]) -> Comparison | None:
    found = [
        compare(value.astype(np.float32), laid)
        for value in values
        if value.size == output.size
        for laid in _layouts(output, value.shape)
    ]
    return min(found, key=lambda distance: distance.relative, default=None)


def _layouts(output: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """The output in the orders in which a program may hold it, in this shape."""
    yield output.reshape(shape)
    if output.ndim == 3:
        yield output.transpose(0, 2, 1).reshape(shape)
    if output.ndim == 4:
        yield output.transpose(0, 3, 1, 2).reshape(shape)
        yield output.transpose(0, 2, 3, 1).reshape(shape)
