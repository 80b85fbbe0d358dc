"""Moves a Transpose from channels last to channels first behind what works pixel by pixel.

LN -> Transpose(NCHW) -> Conv1x1 -> Gelu -> Add(x)
=>  LN -> MatMul -> Add -> Gelu -> Add(Transpose(NHWC) of x) -> Transpose(NCHW)
so that a LayerNorm over channels and its convolutions look like a transformer's layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.conv import Conv, conv_of
from attnc.passes.canonical.token_maps import TO_FIRST, TO_LAST
from attnc.passes.graph import (
    Array,
    attribute,
    const,
    constant,
    is_op,
    new_node,
    replace,
    shape,
)

UNARY = ("Relu", "Clip", "Sigmoid", "Tanh", "Gelu", "Erf", "HardSwish", "HardSigmoid")
BINARY = ("Add", "Sub", "Mul", "Div")


class SinkTransposes(AnchorPass):
    """From [B,H,W,C] to [B,C,H,W], in front of 1x1 convolutions and elementwise operators.

    A residual from a map that exists channels first only is left alone: there the Transpose
    would not vanish but move to the other operand.
    """

    name = "sink_transposes"
    reason = "a LayerNorm over the channels of a map is fused with its convolutions as on tokens"
    anchors = frozenset({"Conv", "Transpose", *UNARY, *BINARY})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces an operator that reads a transposed map."""
        if is_op(node, "Transpose"):
            return _cancel(node, graph)
        if is_op(node, "Conv"):
            return _conv(node, graph)
        if is_op(node, *UNARY):
            source = before_transpose(node.inputs[0])
            return source is not None and _put(node, [source, *node.inputs[1:]], graph)
        return _binary(node, graph)


def before_transpose(value: ir.Value | None) -> ir.Value | None:
    """The [B,H,W,C] value whose Transpose this is; None for anything else."""
    node = value.producer() if value is not None else None
    if node is None or not is_op(node, "Transpose") or attribute(node, "perm") != TO_FIRST:
        return None
    return node.inputs[0]


def channels_last(value: ir.Value, node: ir.Node) -> ir.Value | None:
    """A map [B,C,H,W] as [B,H,W,C], if that exists in front of `node`."""
    return before_transpose(value) or _twin(value, node)


def _cancel(node: ir.Node, graph: ir.Graph) -> bool:
    source = before_transpose(node.inputs[0])
    if source is None or attribute(node, "perm") != TO_LAST or node.outputs[0].is_graph_output():
        return False
    ir.convenience.replace_all_uses_with(node.outputs[0], source)
    graph.remove(node, safe=True)
    return True


def _conv(node: ir.Node, graph: ir.Graph) -> bool:
    conv, source = conv_of(node), before_transpose(node.inputs[0])
    if conv is None or source is None or source.shape is None or not conv.pointwise:
        return False
    made = _linear(conv, source, graph)
    replace(graph, node, [], [*made, new_node("Transpose", made[-1].outputs, {"perm": TO_FIRST})])
    return True


def _linear(conv: Conv, source: ir.Value, graph: ir.Graph) -> list[ir.Node]:
    matrix = np.ascontiguousarray(conv.weight()[:, :, 0, 0].T)
    assert source.shape is not None
    sizes = [*list(source.shape)[:-1], matrix.shape[1]]
    weight = constant(graph, matrix, f"{conv.w.name}_matrix")
    product = new_node("MatMul", [source, weight], like=conv.out, sizes=sizes)
    add = new_node("Add", [product.outputs[0], conv.b], like=conv.out, sizes=sizes)
    return [product, add]


def _binary(node: ir.Node, graph: ir.Graph) -> bool:
    sources = [before_transpose(value) for value in node.inputs]
    if all(source is None for source in sources):
        return False
    inputs = []
    for value, source in zip(node.inputs, sources, strict=True):
        other = source or _row(value, graph) or _twin(value, node)
        if other is None:
            return False
        inputs.append(other)
    return _put(node, inputs, graph)


def _row(value: ir.Value | None, graph: ir.Graph) -> ir.Value | None:
    """A constant per channel, [1,C,1,1] or [C,1,1] or one number, for the last axis."""
    array = const(value)
    if array is None:
        return None
    row = _last(array)
    return None if row is None else constant(graph, row, "channels")


def _last(array: Array) -> Array | None:
    if array.size == 1:
        return array.reshape(())
    wide = (1,) * (4 - array.ndim) + array.shape
    return array.reshape(-1) if array.ndim <= 4 and wide == (1, array.size, 1, 1) else None


def _twin(value: ir.Value | None, node: ir.Node) -> ir.Value | None:
    """The channels-last form of a map, if somebody reads it in front of `node` already."""
    if value is None or value.shape is None or value.shape != node.outputs[0].shape:
        return None
    graph = node.graph
    for use in value.uses():
        user = use.node
        if is_op(user, "Transpose") and attribute(user, "perm") == TO_LAST and user.graph is graph:
            return _early(user)
    return None


def _early(transpose: ir.Node) -> ir.Value:
    """The Transpose's result, computed right behind its operand so that all may read it."""
    data, graph = transpose.inputs[0], transpose.graph
    maker = data.producer() if data is not None else None
    assert graph is not None
    graph.remove(transpose)
    if maker is not None:
        graph.insert_after(maker, transpose)
    else:
        graph.insert_before(graph[0], transpose)
    return transpose.outputs[0]


def _put(node: ir.Node, inputs: Sequence[ir.Value | None], graph: ir.Graph) -> bool:
    """The same operator on channels-last operands, then the Transpose."""
    out = node.outputs[0]
    if out.shape is None or len(shape(out) or []) != 4:
        return False
    batch, channels, height, width = out.shape
    attributes = {name: attribute(node, name) for name in node.attributes}
    moved = new_node(
        node.op_type, inputs, attributes, like=out, sizes=[batch, height, width, channels]
    )
    replace(graph, node, [], [moved, new_node("Transpose", moved.outputs, {"perm": TO_FIRST})])
    return True
