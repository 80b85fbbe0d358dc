"""Every shape of a lowered graph as numbers: the engine plans all memory before it runs."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops.registry import attach_functions
from attnc.compiler.provenance import describe
from attnc.targets.web.program import BOOL, FLOAT32, INT32, INT64

TYPES = {
    ir.DataType.FLOAT: FLOAT32,
    ir.DataType.INT64: INT64,
    ir.DataType.INT32: INT32,
    ir.DataType.BOOL: BOOL,
}
BYTES = {FLOAT32: 4, INT64: 8, INT32: 4, BOOL: 1}


@dataclass(frozen=True)
class Kind:
    """Element type (of the program) and sizes of a value."""

    dtype: int
    dims: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """What the value takes in memory."""
        count = BYTES[self.dtype]
        for size in self.dims:
            count *= size
        return count


def static_kinds(model: ir.Model) -> dict[str, Kind]:
    """Kinds of all inputs and results by name; bodies are attached to the model for that.

    Raises UnsupportedError naming the first node whose result has a free or unknown size.
    """
    attach_functions(model)
    inferred = onnx.shape_inference.infer_shapes(
        ir.serde.serialize_model(model), strict_mode=True, data_prop=True
    )
    graph = inferred.graph
    found = {info.name: info.type.tensor_type for info in (*graph.input, *graph.output)}
    found |= {info.name: info.type.tensor_type for info in graph.value_info}
    kinds = {str(value.name): _kind(value, found, "the input") for value in model.graph.inputs}
    for node in model.graph:
        for value in node.outputs:
            if value.name:
                kinds[value.name] = _kind(value, found, describe(node))
    return kinds


def _kind(value: ir.Value, found: dict[str, onnx.TypeProto.Tensor], where: str) -> Kind:
    known = found.get(str(value.name))
    sizes = None if known is None or not known.HasField("shape") else known.shape.dim
    if known is None or sizes is None or any(not size.HasField("dim_value") for size in sizes):
        raise UnsupportedError(
            f"the size of {value.name!r} is not known before the model runs",
            where=where,
            remedy="export with a fixed --batch; sizes that depend on the picture cannot be",
        )
    dtype = ir.DataType(known.elem_type)
    if dtype not in TYPES:
        raise UnsupportedError(
            f"the web engine has no type {dtype.name.lower()}, which {value.name!r} has",
            where=where,
            remedy="export the model in float32",
        )
    return Kind(TYPES[dtype], tuple(size.dim_value for size in sizes))
