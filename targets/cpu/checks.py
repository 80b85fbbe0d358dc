"""What must hold for a graph before it becomes a CPU bundle."""

from __future__ import annotations

import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.provenance import describe

#: Protocol buffers end here; larger models need their weights outside the model file.
MAX_BYTES = 2**31 - 2**20
STANDARD_DOMAINS = {"", "ai.onnx", "attnc", "ai.onnx.ml", "com.microsoft"}


def check_model(model: ir.Model) -> None:
    """Raise UnsupportedError naming the first thing that ONNX Runtime could not run."""
    for node in model.graph.all_nodes():
        if node.domain not in STANDARD_DOMAINS and node.op_identifier() not in model.functions:
            raise UnsupportedError(
                f"operator {node.domain}::{node.op_type} is neither standard nor defined here",
                where=describe(node),
                remedy="add its function body to the model, or export it as standard operators",
            )
    total = sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None
    )
    if total > MAX_BYTES:
        raise UnsupportedError(f"the weights take {total / 2**30:.2f} GiB; a bundle holds 2")
