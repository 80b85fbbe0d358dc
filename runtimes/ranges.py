"""The largest magnitude of every float32 value of a graph on given inputs.

A float16 graph keeps in float32 what these say it cannot hold.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.compiler.ops.registry import attach_functions
from attnc.runtimes.onnx_session import import_onnxruntime, open_session, session_options

Array = NDArray[Any]
#: Models with more bytes of weights go through a file: a protobuf holds 2 GiB.
LARGEST_IN_MEMORY = 1_500_000_000


def record_ranges(
    model: ir.Model | bytes, inputs: Sequence[Array | Mapping[str, Array]]
) -> dict[str, float]:
    """max |x| over the finite elements of each float32 input and inner value, by its name.

    Each of `inputs` is one run: an array for the first input of the graph, or arrays by name.
    Fused operators run through their function bodies; what is inside these is not recorded.
    The model itself is left as it is. Raises UsageError if ONNX Runtime refuses it.
    """
    watched = ir.from_proto(_parse(model)) if isinstance(model, bytes) else model.clone()
    attach_functions(watched)
    graph = watched.graph
    first = graph.inputs[0].name or ""
    values = [value for node in graph for value in node.outputs]
    names = _watch(graph, [value for value in values if value.dtype == ir.DataType.FLOAT])
    session = _session(watched)
    found = dict.fromkeys(names, 0.0)
    for given in inputs:
        feed = dict(given) if isinstance(given, Mapping) else {first: given}
        results = session.run(names, feed)
        for name, array in [*zip(names, results, strict=True), *feed.items()]:
            if array.dtype == np.float32:
                found[name] = max(found.get(name, 0.0), _magnitude(array))
    return found


def _watch(graph: ir.Graph, values: Sequence[ir.Value]) -> list[str]:
    """Make the values outputs of the graph, in place of those it has; their names."""
    graph.outputs.clear()
    for value in values:
        if value.name and (value.uses() or len(value.producer().outputs) == 1):  # type: ignore[union-attr]
            graph.outputs.append(value)
    return [value.name or "" for value in graph.outputs]


def _session(model: ir.Model) -> Any:
    options = session_options()
    level = import_onnxruntime().GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_DISABLE_ALL  # or fusions hide overflows
    size = sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None
    )
    if size <= LARGEST_IN_MEMORY:
        return open_session(ir.to_proto(model).SerializeToString(), options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        ir.save(model, path, external_data="model.bin")
        return open_session(path, options)


def _parse(data: bytes) -> Any:
    import onnx

    return onnx.load_model_from_string(data)


def _magnitude(array: Array) -> float:
    size = np.abs(array)
    return float(np.max(size, where=np.isfinite(size), initial=0.0))
