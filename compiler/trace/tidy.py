"""Takes this machine out of a traced graph: folders, symbols, exporter's notes.

Two traces of one model must be equal byte by byte, on any machine and in any folder.
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.compiler.provenance import MODULE_KEY, compact, copy_metadata

from .traced import BATCH_NAME, IR_VERSION


def _rename_batch(model: ir.Model, symbol: str) -> None:
    values = [*model.graph.inputs, *model.graph.outputs]
    values += [value for node in model.graph.all_nodes() for value in node.outputs]
    for value in values:
        if value.shape is None:
            continue
        sizes = [BATCH_NAME if str(size) == symbol else size for size in value.shape]
        if sizes != list(value.shape):
            value.shape = ir.Shape(sizes)


def _name_nodes(model: ir.Model) -> None:
    """Every node gets a name of its own, for messages."""
    taken = {node.name for node in model.graph.all_nodes() if node.name}
    for number, node in enumerate(model.graph.all_nodes()):
        if not node.name:
            name = f"{node.op_type}_{number}"
            while name in taken:
                name += "_"
            taken.add(name)
            node.name = name


def _fill_gaps(model: ir.Model) -> None:
    """Exporters lose the origin of nodes that they rewrite: take what the neighbours share."""
    for node in model.graph.all_nodes():
        if MODULE_KEY not in node.metadata_props and len(node.inputs):
            before = [p for value in node.inputs if value is not None and (p := value.producer())]
            copy_metadata([*before, *node.successors()], [node])


def tidy(model: ir.Model) -> None:
    """Rewrite metadata, symbols and versions of the model, in place."""
    for node in model.graph.all_nodes():
        compact(node)
        node.doc_string = None
    _fill_gaps(model)
    model.graph.metadata_props.clear()
    model.metadata_props.clear()
    model.graph.doc_string = model.doc_string = None
    first = model.graph.inputs[0].shape if model.graph.inputs else None
    if first is not None and len(first) and not isinstance(first[0], int):
        _rename_batch(model, str(first[0]))
    _name_nodes(model)
    model.graph.name = "main_graph"
    model.ir_version = IR_VERSION
