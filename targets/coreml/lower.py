"""The graph after our passes, node by node, as a program of MIL.

Each node is lowered by the one small function that the table names for it; what has none is tried
as its function body, and refused if that has a node without one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.inline import inline_body
from attnc.compiler.pipeline import run_pipeline
from attnc.compiler.provenance import describe
from attnc.passes.graph import is_const
from attnc.passes.pipelines import clean
from attnc.targets.coreml.batch import free_name, gives_shapes
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.fused.heads import FUSED_FROM
from attnc.targets.coreml.projections import join_projections
from attnc.targets.coreml.scale import fold_scales
from attnc.targets.coreml.table import FUSED, LAYOUT, STANDARD
from attnc.targets.coreml.versions import target_of
from attnc.targets.coreml.writer import FREE, Origin, Writer, is_var

if TYPE_CHECKING:
    from coremltools.converters.mil.mil import Program


#: The output that a classifier's labels are ranked by.
PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class Options:
    """`ios`: the deployment target; `half`: float16 but for the operations `kept` by name.

    `picture`: the input is one, which arrives in float32; `classifier`: probabilities come out
    before the logits.
    """

    ios: int
    half: bool = False
    kept: Mapping[str, str] = field(default_factory=dict)
    picture: bool = False
    classifier: bool = False


@dataclass(frozen=True)
class Lowered:
    """A program, where its operations come from, and which stay float32 in half precision."""

    program: Program
    origins: Mapping[str, Origin]
    wide: Mapping[str, str]


def prepare(model: ir.Model, ios: int) -> None:
    """Bodies take the place of fused operators without a lowering, in place; scales are folded."""
    left = [n for n in model.graph if n.domain == DOMAIN and n.op_type not in FUSED]
    for node in left:
        inline_body(node)
    if left:
        run_pipeline(model, clean())
    join_projections(model)
    fold_scales(model, operator=ios >= FUSED_FROM)


def lower(model: ir.Model, options: Options) -> Lowered:
    """The program of a prepared graph, which stays as it is.

    Raises UnsupportedError naming the node that has no lowering, or that this iOS is too old for.
    """
    from coremltools.converters.mil.mil import Builder, Function, Program

    Builder.name_count.clear()
    writer = Writer(options.ios, options.half, options.kept)
    forms = Forms(writer, free_name(model))
    graph = model.graph
    names = _names([*graph.inputs, *graph.outputs])
    given = dict(zip(names, graph.inputs, strict=False))
    inputs = {name: _placeholder(value, forms, options.half) for name, value in given.items()}
    with Function(inputs, opset_version=target_of(options.ios)) as function:
        for name, value in given.items():
            forms.set(value, function.inputs[name])
            forms.source = function.inputs[name]
        for node in graph:
            _lower_node(node, forms)
        pairs = zip(graph.outputs, names[len(given) :], strict=True)
        outputs = [_result(value, name, forms) for value, name in pairs]
        if options.classifier:
            outputs.insert(0, _probabilities(outputs[0], forms))
        function.set_outputs(outputs)
    program = Program()
    program.add_function("main", function)
    return Lowered(program, writer.origins, writer.wide)


def _lower_node(node: ir.Node, forms: Forms) -> None:
    forms.emit.node = node
    if all(is_const(value) for value in node.outputs) or gives_shapes(node):
        return
    for table in (FUSED if node.domain == DOMAIN else LAYOUT, STANDARD):
        function = table.get(node.op_type) if node.domain in ("", "ai.onnx", DOMAIN) else None
        if function is not None and function(node, forms) is not False:
            return
    domain = f"{node.domain}::" if node.domain else ""
    raise UnsupportedError(
        f"the operator {domain}{node.op_type} has no form in Core ML",
        where=describe(node),
        remedy="write that part of the model with other operators",
    )


def _names(values: Sequence[ir.Value]) -> list[str]:
    """Identifiers for the features, no two alike."""
    found = [PROBABILITIES]
    for value in values:
        stem = re.sub(r"\W", "_", value.name or "input", flags=re.ASCII)
        stem = name = stem if not stem[0].isdigit() else f"input_{stem}"
        count = 0
        while name in found:
            count += 1
            name = f"{stem}_{count}"
        found.append(name)
    return found[1:]


def _placeholder(value: ir.Value, forms: Forms, half: bool) -> Any:
    from coremltools.converters.mil.mil import Builder, get_new_symbol, types

    kinds = {
        ir.DataType.FLOAT: types.fp16 if half else types.fp32,
        ir.DataType.FLOAT16: types.fp16,
        ir.DataType.INT32: types.int32,
        ir.DataType.INT64: types.int32,
    }
    if value.dtype not in kinds:
        raise UnsupportedError(
            f"Core ML takes no input of type {value.dtype} ({value.name})",
            remedy="export a model whose inputs are float32 or int32",
        )
    shape = [get_new_symbol() if size == FREE else size for size in forms.sizes(value)]
    return Builder.placeholder(shape=shape, dtype=kinds[value.dtype])


def _result(value: ir.Value, name: str, forms: Forms) -> Any:
    """An output of the graph under this name; one that is held by nothing else is renamed."""
    x = forms.plain(value)
    alone = is_var(x) and x.op is not None and len(x.op.outputs) == 1
    made = x if alone and forms.claim(x) else forms.emit("identity", x=x)
    made.name = name
    return made


def _probabilities(logits: Any, forms: Forms) -> Any:
    share = forms.emit("softmax", x=logits, axis=-1)
    share.name = PROBABILITIES
    return share
