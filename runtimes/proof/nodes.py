"""Which node of a bundle computes wrongly: each alone, on the inputs that really reached it.

What a node gives is held against its operator in float64 on the same inputs, so that an error is
found where it arises and not where it is carried to. A few nodes are watched in each run: memory
stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.compiler.ops import registry
from attnc.compiler.ops.base import DOMAIN
from attnc.runtimes.onnx_session import import_onnxruntime, infer, open_session, session_options
from attnc.runtimes.proof.float64 import run_node, widened
from attnc.runtimes.proof.values import MEMORY, Place, bytes64

Array = NDArray[Any]
#: Relative error of one operator in float32; kernels are tested to 1e-5 on hard inputs.
LIMIT = 1e-4


@dataclass(frozen=True)
class Observed:
    """A node of a run: what came in and what came out, weights included."""

    node: ir.Node
    inputs: tuple[Array | None, ...]
    outputs: tuple[Array, ...]


def observe(
    model: ir.Model,
    library: Path | None,
    feeds: Mapping[str, Array],
    wanted: Callable[[ir.Node], bool] = lambda node: True,
    memory: int = MEMORY,
) -> Iterator[Observed]:
    """The wanted nodes of a run in ONNX Runtime, in order, with the kernels of `library`.

    The graph runs once for each part of it whose values fit into `memory` bytes. Other
    optimisations than ours are off, because they would hide values.
    """
    held = {str(name): array for name, array in feeds.items()}
    for part in _parts([node for node in model.graph if wanted(node)], memory):
        values = [v for node in part for v in (*node.inputs, *node.outputs) if v is not None]
        names = {str(value.name) for value in values if _live(value)}
        found = {**held, **_values(model, library, feeds, sorted(names - held.keys()))}
        for node in part:
            yield Observed(
                node,
                tuple(_array(value, found) for value in node.inputs),
                tuple(found.get(str(value.name), np.zeros(0)) for value in node.outputs),
            )


def first_wrong_node(
    model: ir.Model, library: Path | None, feeds: Mapping[str, Array], limit: float = LIMIT
) -> Place | None:
    """The first node whose result is not that of its operator; None if all are right."""
    opsets = model.graph.opset_imports
    for seen in observe(model, library, feeds):
        error = error_of(seen, opsets)
        allowed = max(limit, _rounding(seen.node))
        if not error <= allowed:
            return Place.at(seen.node, error, allowed)
    return None


def _rounding(node: ir.Node) -> float:
    return registry.get(node.op_type).rounding if node.domain == DOMAIN else 0.0


def error_of(seen: Observed, opsets: Mapping[str, int]) -> float:
    """Relative error of a node's first output; what it chooses counts where the choice is clear."""
    given = [None if array is None else widened(array) for array in seen.inputs]
    got = seen.outputs[0]
    if got.dtype.kind != "f" or not got.size:
        return 0.0
    expected = run_node(seen.node, given, opsets)[0]
    if expected.shape != got.shape:
        return np.inf
    clear = _settled(seen, given)
    error = np.abs(got.astype(np.float64) - expected)
    error = error if clear is None else error[clear]
    if not np.isfinite(error).all():
        same = np.array_equal(np.isfinite(got), np.isfinite(expected))
        error = error[np.isfinite(error)] if same else np.full(1, np.inf)
    finite = np.abs(expected[np.isfinite(expected)])
    return float(error.max(initial=0.0)) / (float(finite.max(initial=0.0)) or 1.0)


def _settled(seen: Observed, given: Sequence[Array | None]) -> Array | None:
    if seen.node.domain != DOMAIN:
        return None
    rule = registry.get(seen.node.op_type).discontinuous
    if rule is None:
        return None
    attributes = {name: found.value for name, found in seen.node.attributes.items()}
    return np.asarray(rule.settled([array for array in given if array is not None], attributes))


def _live(value: ir.Value) -> bool:
    return bool(value.name) and value.const_value is None


def _array(value: ir.Value | None, found: Mapping[str, Array]) -> Array | None:
    if value is None:
        return None
    if value.const_value is not None:
        return value.const_value.numpy()
    return found[str(value.name)]


def _parts(nodes: Sequence[ir.Node], memory: int) -> Iterator[list[ir.Node]]:
    part: list[ir.Node] = []
    held = 0
    for node in nodes:
        size = sum(bytes64(v) for v in (*node.inputs, *node.outputs) if v is not None and _live(v))
        if part and held + size > memory:
            yield part
            part, held = [], 0
        part.append(node)
        held += size
    if part:
        yield part


def _values(
    model: ir.Model, library: Path | None, feeds: Mapping[str, Array], names: Sequence[str]
) -> dict[str, Array]:
    """What these values hold in a run."""
    watched = model.clone()
    graph = watched.graph
    outputs = {str(value.name) for value in graph.outputs}
    for node in graph:
        for value in node.outputs:
            if str(value.name) in names and str(value.name) not in outputs:
                graph.outputs.append(value)
    options = session_options(None, library)
    options.graph_optimization_level = import_onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
    session = open_session(ir.to_proto(watched).SerializeToString(), options)
    return dict(infer(session, feeds))
