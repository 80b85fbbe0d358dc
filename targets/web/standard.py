"""The form for onnxruntime-web: standard operators only, shapes constant, rank at most four.

Its prebuilt WebAssembly and WebGPU take no custom operators.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.inline import inline_body
from attnc.compiler.pipeline import Pass, run_pipeline
from attnc.compiler.provenance import describe
from attnc.passes.clean.dead import DeadCode
from attnc.passes.pipelines import clean
from attnc.targets.web.clips import SimplifyClips
from attnc.targets.web.group_norms import MixerWithInstanceNorm
from attnc.targets.web.instance_norms import NormRowsAsInstances
from attnc.targets.web.narrow import NarrowAxes
from attnc.targets.web.narrow_forms import MOST_AXES
from attnc.targets.web.odd_maps import RowsOnOddMaps
from attnc.targets.web.rows_from_maps import RowsFromMaps
from attnc.targets.web.sparse_masks import SparseMasksAsSums
from attnc.targets.web.window_tiles import WindowsAsTiles

#: Weights of fewer elements stay float32: they are norms and biases, and save nothing.
LEAST_HALVED = 256
#: The largest float16.
HALF_MAX = 65504.0
#: A weight whose rounding is more than this share of its largest element stays float32: it lies
#: where halves lose bits, or vanish.
HALF_ROUNDING = 2.0**-10


def to_standard(model: ir.Model) -> None:
    """Put standard operators in place of all `attnc` operators and tidy up, in place.

    Some have a form that onnxruntime-web runs faster than their body; the others get their body.
    """
    run_pipeline(model, forms())
    for node in [node for node in model.graph if node.domain == DOMAIN]:
        inline_body(node)
    for identifier in [key for key in model.functions if key[0] == DOMAIN]:
        del model.functions[identifier]
    model.graph.opset_imports.pop(DOMAIN, None)
    run_pipeline(model, [*tidy(), *faster(), *tidy(), NarrowAxes(), DeadCode()])
    name_apart(model)


def forms() -> list[Pass]:
    """Fused operators in what onnxruntime-web runs fastest, where that is not their body."""
    return [
        RowsFromMaps(),  # first: it moves a Transpose, and wants the convolution in one piece
        RowsOnOddMaps(),
        MixerWithInstanceNorm(),
        WindowsAsTiles(),
        SparseMasksAsSums(),
    ]


def faster() -> list[Pass]:
    """Standard operators in what onnxruntime-web runs fastest."""
    return [SimplifyClips(), NormRowsAsInstances()]


def name_apart(model: ir.Model) -> None:
    """Give every node a name of its own, as older runtimes insist on."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph):
        name = node.name or f"node_{index}"
        node.name = name if name not in taken else f"{name}#{index}"
        taken.add(node.name)


def tidy() -> list[Pass]:
    """What cleans a graph after bodies came into it."""
    return clean()


def check_standard(model: ir.Model) -> None:
    """Raise UnsupportedError naming the first node that onnxruntime-web would not take."""
    for node in model.graph:
        if node.domain not in ("", "ai.onnx"):
            raise UnsupportedError(
                f"onnxruntime-web has no operator {node.domain}::{node.op_type}",
                where=describe(node),
                remedy="export the model as standard operators",
            )


def wide_nodes(model: ir.Model) -> list[ir.Node]:
    """Nodes with a result of more than four dimensions, which WebGPU runs slowly or not at all."""
    return [
        node
        for node in model.graph
        if any(value.shape is not None and len(value.shape) > MOST_AXES for value in node.outputs)
    ]


def halves(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bool:
    """Whether a weight is stored as float16 where that is wished."""
    if array.dtype != np.float32 or array.size < LEAST_HALVED:
        return False
    largest = np.abs(array).max()
    if not largest <= HALF_MAX:
        return False
    rounding = np.subtract(array.astype(np.float16), array)
    return bool(np.abs(rounding).max() <= HALF_ROUNDING * largest)


def halve_weights(model: ir.Model) -> None:
    """Store large weights as float16, widened by a Cast that runtimes fold when they load."""
    graph = model.graph
    for value in list(graph.initializers.values()):
        tensor = value.const_value
        if tensor is None or value.is_graph_output() or not halves(tensor.numpy()):
            continue
        half = ir.tensor(tensor.numpy().astype(np.float16), name=f"{value.name}.half")
        stored = ir.Value(
            name=half.name, shape=ir.Shape(tensor.numpy().shape), type=ir.TensorType(half.dtype)
        )
        stored.const_value = half
        cast = ir.node("Cast", [stored], {"to": int(ir.DataType.FLOAT)}, name=f"{value.name}.widen")
        cast.outputs[0].shape, cast.outputs[0].type = value.shape, value.type
        ir.convenience.replace_all_uses_with(value, cast.outputs[0])
        del graph.initializers[str(value.name)]
        cast.outputs[0].name = value.name
        graph.register_initializer(stored)
        graph.insert_before(graph[0], cast)
