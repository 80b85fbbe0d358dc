"""What must hold for a graph before it becomes a Core ML bundle."""

from __future__ import annotations

import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.provenance import describe
from attnc.passes.graph import shape
from attnc.targets.coreml.batch import free_name, sizes_of
from attnc.targets.coreml.writer import FREE

#: More axes than this no tensor of MIL has.
MOST_AXES = 5


def check_model(model: ir.Model) -> None:
    """Raise UnsupportedError naming the first thing that no ML Program can express."""
    free = free_name(model)
    for value in model.graph.inputs:
        given = sizes_of(value, free)
        if given is None or None in given or FREE in given[1:]:
            raise UnsupportedError(
                f"the input {value.name!r} has a size that is not fixed: {value.shape}",
                remedy="export with a fixed --image-size; of all sizes only the batch may be free "
                "(--batch dynamic)",
            )
        if FREE in given and len(model.graph.inputs) > 1:
            raise UnsupportedError(
                f"the input {value.name!r} has a free batch and is not the only one",
                remedy="export with --batch N; Core ML lists allowed shapes of one input",
            )
        if not given:
            raise UnsupportedError(
                f"the input {value.name!r} is a single number; Core ML takes tensors",
                remedy="give it an axis of one entry",
            )
    for node in model.graph:
        if any(attr.type == ir.AttributeType.GRAPH for attr in node.attributes.values()):
            raise UnsupportedError(
                f"{node.op_type} has a branch or loop inside",
                where=describe(node),
                remedy="export the model with its branches resolved",
            )
        for value in node.outputs:
            sizes = shape(value)
            if sizes is not None and len(sizes) > MOST_AXES:
                raise UnsupportedError(
                    f"a tensor has {len(sizes)} axes {value.shape}; Core ML has up to {MOST_AXES}",
                    where=describe(node),
                    remedy="merge axes of that part of the model",
                )
