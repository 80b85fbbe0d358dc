"""A batch that is known only when the model runs: one of a few, that Core ML plans for beforehand.

The axis that has it is found by the name that the graph's input gives it.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from attnc.passes.graph import is_op
from attnc.targets.coreml.writer import FREE

_WHOLE = (ir.DataType.INT32, ir.DataType.INT64)
#: Where operators read the shape of their result, which is inferred already.
_TARGETS = {"ConstantOfShape": 0, "Expand": 1, "Reshape": 1}


def free_name(model: ir.Model) -> str | None:
    """What the graph calls its free batch; None where the batch is fixed."""
    for value in model.graph.inputs:
        first = value.shape[0] if value.shape is not None and len(value.shape) else None
        if isinstance(first, ir.SymbolicDim):
            return first.value
    return None


def sizes_of(value: ir.Value | None, free: str | None) -> list[int | None] | None:
    """The sizes of a value: FREE for the free batch, None for what is not known otherwise."""
    if value is None or value.shape is None:
        return None
    return [_size(dim, free) for dim in value.shape]


def _size(dim: Any, free: str | None) -> int | None:
    if isinstance(dim, int):
        return dim
    return FREE if free is not None and dim.value == free else None


def gives_shapes(node: ir.Node) -> bool:
    """Whether operators read what it gives as the shape of their result, and as nothing else."""
    return all(_is_shape(value) for value in node.outputs)


def _is_shape(value: ir.Value) -> bool:
    uses = list(value.uses())
    if not uses or value.dtype not in _WHOLE or value.is_graph_output():
        return False
    return all(
        _TARGETS.get(use.node.op_type) == use.idx
        if is_op(use.node, *_TARGETS)
        else gives_shapes(use.node)
        for use in uses
    )
