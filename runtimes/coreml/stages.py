"""The source model's stages against the program's values: where the two part, if they do.

A stage is a block of the torch module (an entry of a list, or a direct child). Its output is looked
for among the last values that the program made for it, in the layout that the program holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attnc.runtimes.compare import compare
from attnc.runtimes.coreml.program import Operation
from attnc.runtimes.proof.blocks import Stage, block_of
from attnc.runtimes.proof.metrics import measure

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[Any]
#: How many of a stage's last values are looked at: what follows its output may be named after it.
LAST = 4
#: Stages deeper than this are parts of a block.
DEEPEST = 4


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
        if name and name.count(".") < DEEPEST and block_of(name) == name:
            yield name, part


class Stages:
    """Watches an evaluation for the stages' outputs: keeps the last values of each."""

    def __init__(
        self, outputs: Mapping[str, Array], origins: Mapping[str, Mapping[str, str]]
    ) -> None:
        self.outputs, self.origins = outputs, origins
        self.kept: dict[str, list[tuple[str, Array]]] = {name: [] for name in outputs}

    def __call__(self, operation: Operation, results: tuple[Array, ...]) -> None:
        """See `Evaluator.run`."""
        module = self.origins.get(operation.name, {}).get("module", "")
        steps = module.split(".") if module else []
        for count in range(1, len(steps) + 1):
            values = self.kept.get(".".join(steps[:count]))
            if values is not None:
                floats = [result for result in results if result.dtype.kind == "f"]
                values += [(operation.name, result) for result in floats]
                del values[:-LAST]

    def compared(self) -> list[Stage]:
        """Each stage with its nearest value; without metrics if none has its size."""
        return [_nearest(name, out, self.kept[name]) for name, out in self.outputs.items()]


def _nearest(module: str, output: Array, values: list[tuple[str, Array]]) -> Stage:
    found = [
        (name, value.astype(np.float32), laid)
        for name, value in values
        if value.size == output.size
        for laid in _layouts(output, value.shape)
    ]
    if not found:
        return Stage(module, "", None)
    name, value, laid = min(found, key=lambda one: compare(one[1], one[2]).relative)
    return Stage(module, name, measure(value, laid))


def _layouts(output: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """The output in the orders in which a program may hold it, in this shape."""
    yield output.reshape(shape)
    if output.ndim == 3:
        yield output.transpose(0, 2, 1).reshape(shape)
    if output.ndim == 4:
        yield output.transpose(0, 3, 1, 2).reshape(shape)
        yield output.transpose(0, 2, 3, 1).reshape(shape)
