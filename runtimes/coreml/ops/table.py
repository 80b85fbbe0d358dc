"""Every operation that the evaluator knows, from the groups of this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.ops import (
    activations,
    binary,
    constants,
    control,
    convolution,
    elementwise,
    gathering,
    linear,
    normalization,
    pooling,
    quantization,
    recurrent,
    reductions,
    resizing,
    shapes,
    tensors,
    transformers,
)

Function: TypeAlias = Callable[[Call], Any]

GROUPS: tuple[Mapping[str, Function], ...] = (
    activations.OPERATIONS,
    binary.OPERATIONS,
    constants.OPERATIONS,
    control.OPERATIONS,
    convolution.OPERATIONS,
    elementwise.OPERATIONS,
    gathering.OPERATIONS,
    linear.OPERATIONS,
    normalization.OPERATIONS,
    pooling.OPERATIONS,
    quantization.OPERATIONS,
    recurrent.OPERATIONS,
    reductions.OPERATIONS,
    resizing.OPERATIONS,
    shapes.OPERATIONS,
    tensors.OPERATIONS,
    transformers.OPERATIONS,
)
TABLE: dict[str, Function] = {name: run for group in GROUPS for name, run in group.items()}
