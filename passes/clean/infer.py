"""Annotates values with types and shapes; everything after it asks for shapes.

Conv -> ?          =>      Conv -> float32[batch,64,14,14]
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from attnc.compiler.pipeline import PassResult
from attnc.passes.graph import is_op

#: The inference of onnx_ir takes the lists that these make for tensors.
SEQUENCES = (
    *("SplitToSequence", "SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceEmpty"),
    *("SequenceMap", "Optional", "OptionalGetElement", "If", "Loop"),
)


class InferShapes:
    """ONNX shape inference, with values of small integer tensors followed."""

    name = "infer_shapes"
    reason = "patterns check sizes, and folding shape arithmetic needs them"

    def run(self, model: ir.Model) -> PassResult:
        """Counts the values that were annotated or became more precise."""
        before = _annotations(model)
        own = {v: v.shape for n in model.graph if n.domain == "attnc" for v in n.outputs}
        lists = {v: v.type for n in model.graph if is_op(n, *SEQUENCES) for v in n.outputs}
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
        for value, known in own.items():
            value.shape = value.shape if value.shape is not None else known
        for value, type_ in lists.items():
            value.shape, value.type = None, type_
        after = _annotations(model)
        return PassResult(sum(before.get(value) != text for value, text in after.items()))


def _annotations(model: ir.Model) -> dict[ir.Value, str]:
    return {v: f"{v.dtype}{v.shape}" for node in model.graph for v in node.outputs}
