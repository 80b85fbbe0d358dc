"""What must hold for a graph before it becomes a TensorRT bundle.

Measured with TensorRT for RTX 1.7.1 and taken to hold for TensorRT 10 and 11 with their parser.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.provenance import describe
from attnc.passes.graph import attribute, input_at, ints, is_op

#: The largest K of a TopK; more is an error of the parser.
MOST_CHOSEN = 3840
#: Standard operators that the parser does not know.
UNKNOWN = frozenset(
    {"AffineGrid", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Col2Im"}
    | {"Compress", "ConvInteger", "DFT", "DeformConv", "Det", "DynamicQuantizeLinear"}
    | {"MatMulInteger", "MaxUnpool", "QLinearConv", "QLinearMatMul", "Unique", "NonZero"}
    | {"SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert"}
    | {"SequenceLength", "SplitToSequence", "ConcatFromSequence", "SequenceMap", "RoiAlign"}
)


def check_model(model: ir.Model) -> None:
    """Raise UnsupportedError naming the first node that TensorRT's parser would refuse."""
    for node in model.graph.all_nodes():
        for problem in (_operator, _top_k, _reduction, _resize):
            found = problem(node, model)
            if found:
                reason, remedy = found
                raise UnsupportedError(
                    f"TensorRT cannot run this node: {reason}", where=describe(node), remedy=remedy
                )


Finding = tuple[str, str] | None
Check = Callable[[ir.Node, ir.Model], Finding]


def _operator(node: ir.Node, model: ir.Model) -> Finding:
    if node.domain == DOMAIN:
        return None
    if node.domain not in ("", "ai.onnx") and node.op_identifier() not in model.functions:
        return (
            f"operator {node.domain}::{node.op_type} is not standard",
            "export the model as standard operators, before any optimisation by a runtime",
        )
    if node.domain in ("", "ai.onnx") and node.op_type in UNKNOWN:
        return (
            f"its parser does not know the operator {node.op_type}",
            "write that part of the model with other operators",
        )
    return None


def _top_k(node: ir.Node, model: ir.Model) -> Finding:
    if not is_op(node, "TopK"):
        return None
    count = ints(input_at(node, 1))
    if count is None:
        return "TopK's K is computed while the model runs", "choose a fixed number of tokens"
    if count[0] > MOST_CHOSEN:
        return (
            f"TopK's K is {count[0]}; TensorRT takes up to {MOST_CHOSEN}",
            "keep fewer tokens, or a smaller picture",
        )
    return None


def _reduction(node: ir.Node, model: ir.Model) -> Finding:
    if not is_op(node, "ScatterND", "ScatterElements"):
        return None
    how = attribute(node, "reduction", "none")
    if how == "none":
        return None
    return f"{node.op_type} with reduction {how} has no implementation", "gather and add instead"


def _resize(node: ir.Node, model: ir.Model) -> Finding:
    if not is_op(node, "Resize") or not attribute(node, "antialias", 0):
        return None
    return "Resize with antialias has no implementation", "resize at export, or without antialias"
