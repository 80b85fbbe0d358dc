"""Linear layers between a pooling and a map are 1x1 convolutions on one pixel.

GlobalAveragePool -> Flatten -> Gemm -> ReLU -> Gemm -> Sigmoid -> Reshape([B,C,1,1])
=>  GlobalAveragePool -> Conv1x1 -> ReLU -> Conv1x1 -> Sigmoid
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.linear import linear_of
from attnc.passes.graph import constant, is_op, new_node, replace, shape, sole_user
from attnc.passes.movement import MOVES
from attnc.passes.views import View, trace

UNARY = ("Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Clip")
ONE_PIXEL = {
    "kernel_shape": [1, 1],
    "strides": [1, 1],
    "pads": [0, 0, 0, 0],
    "dilations": [1, 1],
    "group": 1,
}


class CanonicalPooledGate(AnchorPass):
    """A vector computed from a pooling by Gemms, brought back to [B,C,1,1]."""

    name = "canonical_pooled_gate"
    reason = "some authors write the gate of squeeze-and-excite with linear layers"
    anchors = frozenset({"Reshape", "Unsqueeze"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Rebuilds the chain on [B,C,1,1]."""
        sizes = shape(node.outputs[0])
        if sizes is None or len(sizes) != 4 or sizes[2:] != [1, 1]:
            return False
        view = trace(node.outputs[0])
        chain = _chain(view.sources[0])
        if chain is None or not _keeps_order(view, sizes[1]):
            return False
        value, news = chain[0].inputs[0], list[ir.Node]()
        assert value is not None
        for old in chain[1:]:
            news.append(_on_one_pixel(old, value, graph))
            value = news[-1].outputs[0]
        replace(graph, node, [*chain[1:], *view.nodes], news)
        return True


def _chain(value: ir.Value) -> list[ir.Node] | None:
    """Flatten, then Gemms and activations, each read once; None if it is anything else."""
    found: list[ir.Node] = []
    while True:
        node = value.producer()
        user = sole_user(value)
        if node is None or user is None or not is_op(user, *MOVES, *UNARY, "Gemm"):
            return None
        found.insert(0, node)
        data = node.inputs[0]
        if data is None:
            return None
        if is_op(node, "Flatten"):
            pooled = is_op(data.producer(), "GlobalAveragePool")
            return found if pooled and any(is_op(n, "Gemm") for n in found) else None
        if linear_of(node) is None and not is_op(node, *UNARY):
            return None
        value = data


def _keeps_order(view: View, channels: int | None) -> bool:
    return len(view.sources) == 1 and all(
        np.array_equal(view.indices(batch).reshape(-1), np.arange(batch * (channels or 0)))
        for batch in view.batches()
    )


def _on_one_pixel(old: ir.Node, value: ir.Value, graph: ir.Graph) -> ir.Node:
    assert value.shape is not None
    linear = linear_of(old)
    if linear is None:
        attributes = {name: a.value for name, a in old.attributes.items()}
        return new_node(old.op_type, [value, *old.inputs[1:]], attributes, like=value)
    rows = linear.weight()
    w = constant(graph, rows[:, :, None, None], f"{linear.w.name}_pixel")
    sizes = [value.shape[0], len(rows), 1, 1]
    return new_node("Conv", [value, w, linear.b], ONE_PIXEL, like=value, sizes=sizes)
