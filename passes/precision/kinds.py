"""What the rules know of operators: products, norms, movement, bounded results."""

from __future__ import annotations

import onnx_ir as ir

from attnc.compiler.ops.base import DOMAIN
from attnc.passes.graph import STANDARD, attribute, input_at, is_op, scalar
from attnc.passes.precision.low import HALVES, is_float

#: They accumulate in float32 and round once: where scores end and sums begin.
PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose", "DeformConv", "Einsum", "Attention")
#: They compute inside in float32, whatever the type of their input.
NORMS = (
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "RMSNormalization",
)
RANKINGS = ("TopK", "ArgMax", "ArgMin")
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
#: The same numbers in another place.
MOVEMENT = (
    "Concat",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
)
_BOUNDED = (*NORMS, "Erf", "HardSigmoid", "Hardmax", "LpNormalization", "Sigmoid", "Sign")
BOUNDED = (*_BOUNDED, "Softmax", "Softsign", "Tanh", "Sin", "Cos")


def is_plugin(node: ir.Node) -> bool:
    """An operator of ours: a kernel."""
    return node.domain == DOMAIN


def is_product(node: ir.Node | None) -> bool:
    """A product, or a kernel of ours, which is at least one."""
    return node is not None and (is_plugin(node) or is_op(node, *PRODUCTS))


def is_bounded(node: ir.Node, safe: float) -> bool:
    """Whether the result is small, however large the input."""
    if not is_op(node, "Clip"):
        return is_op(node, *BOUNDED)
    bounds = [scalar(input_at(node, index)) for index in (1, 2)]
    return all(bound is not None and abs(bound) <= safe for bound in bounds)


def is_border(node: ir.Node) -> bool:
    """A Cast between float32 and a low type that is in the graph already: somebody's decision."""
    if not is_op(node, "Cast") or node.inputs[0] is None:
        return False
    source, out = node.inputs[0], node.outputs[0]
    wanted = ir.DataType(attribute(node, "to"))
    return (source.dtype in HALVES and is_float(out)) or (is_float(source) and wanted in HALVES)


def is_standard(node: ir.Node) -> bool:
    """Whether the ONNX specification knows the operator's types."""
    return node.domain in STANDARD


def is_list_operator(node: ir.Node) -> bool:
    """Whether it takes or gives a sequence of tensors, or an optional one."""
    named = "Sequence" in node.op_type or node.op_type.startswith("Optional")
    return is_standard(node) and named
