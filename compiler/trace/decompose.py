"""Operators that are younger than our opset, said in older ones.

In the form in which exporters wrote them before, so that passes meet one form only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.provenance import copy_metadata, describe


class _Builder:
    """Adds nodes before `old`, names them after it, and takes its place at the end."""

    def __init__(self, graph: ir.Graph, old: ir.Node) -> None:
        self.graph, self.old, self.nodes = graph, old, list[ir.Node]()
        self.base = old.outputs[0].name or old.name or old.op_type

    def constant(self, name: str, array: NDArray[Any]) -> ir.Value:
        """An initializer."""
        full = f"{self.base}_{name}"
        value = ir.Value(
            name=full,
            const_value=ir.tensor(array, name=full),
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        )
        root = self.graph
        root.register_initializer(value)
        return value

    def add(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Iterable[ir.Attr] = (),
        shape: ir.Shape | None = None,
    ) -> ir.Value:
        """A node of the standard domain with one output, float32 of the given shape."""
        name = f"{self.base}_{op_type}_{len(self.nodes)}"
        output = ir.Value(name=name, shape=shape, type=self.old.outputs[0].type)
        node = ir.Node("", op_type, inputs, list(attributes), outputs=[output], name=f"node_{name}")
        self.nodes.append(node)
        return output

    def finish(self, result: ir.Value) -> None:
        """Insert the nodes and let `result` stand for the old node's output."""
        copy_metadata([self.old], self.nodes)
        ir.convenience.replace_nodes_and_values(
            self.graph, self.old, [self.old], self.nodes, [self.old.outputs[0]], [result]
        )


def _attribute(node: ir.Node, name: str, default: Any) -> Any:
    return node.attributes[name].value if name in node.attributes else default


def decompose_group_norm(graph: ir.Graph, node: ir.Node) -> None:
    """GroupNormalization 21 as Reshape, InstanceNormalization, Reshape, Mul, Add."""
    x, scale, bias = node.inputs
    if x is None or scale is None or bias is None or x.shape is None:
        raise _unsupported(node, "its input shape is unknown")
    rank, groups = len(x.shape), int(node.attributes["num_groups"].value)
    b = _Builder(graph, node)
    ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    epsilon = ir.AttrFloat32("epsilon", float(_attribute(node, "epsilon", 1e-5)))
    grouped = b.add("Reshape", [x, b.constant("groups", np.array([0, groups, -1], np.int64))])
    normal = b.add(
        "InstanceNormalization",
        [grouped, b.constant("one", ones), b.constant("zero", zeros)],
        [epsilon],
    )
    shape = b.add("Shape", [x])
    shape.type, shape.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([rank])
    back = b.add("Reshape", [normal, shape], shape=x.shape)
    per_channel = b.constant("per_channel", np.array([-1] + [1] * (rank - 2), np.int64))
    gain, shift = b.add("Reshape", [scale, per_channel]), b.add("Reshape", [bias, per_channel])
    scaled = b.add("Mul", [back, gain], shape=x.shape)
    b.finish(b.add("Add", [scaled, shift], shape=x.shape))


def decompose_attention(graph: ir.Graph, node: ir.Node) -> None:
    """Attention 23 of four-dimensional q, k, v as Transpose, MatMul, Mul, Softmax, MatMul."""
    q, k, v = node.inputs[:3]
    if any(value is not None for value in node.inputs[3:]) or len(node.outputs) > 1:
        raise _unsupported(node, "a mask or a cache of past keys")
    if _attribute(node, "is_causal", 0) or _attribute(node, "softcap", 0.0):
        raise _unsupported(node, "a causal mask or a soft cap")
    if q is None or q.shape is None or len(q.shape) != 4 or k is None or k.shape is None:
        raise _unsupported(node, "packed heads, or an unknown shape of q")
    if q.shape[1] != k.shape[1]:
        raise _unsupported(node, "fewer key heads than query heads")
    scale = _attribute(node, "scale", None)
    if scale is None:
        if not isinstance(q.shape[3], int):
            raise _unsupported(node, "an unknown head width")
        scale = q.shape[3] ** -0.5
    b = _Builder(graph, node)
    keys = b.add("Transpose", [k], [ir.AttrInt64s("perm", [0, 1, 3, 2])])
    scores = b.add("MatMul", [q, keys])
    scaled = b.add("Mul", [scores, b.constant("scale", np.array(scale, np.float32))])
    weights = b.add("Softmax", [scaled], [ir.AttrInt64("axis", -1)])
    b.finish(b.add("MatMul", [weights, v], shape=node.outputs[0].shape))


def _unsupported(node: ir.Node, reason: str) -> UnsupportedError:
    return UnsupportedError(
        f"{node.op_type} cannot be brought to our opset: {reason}",
        where=describe(node),
        remedy="export again with opset_version=20",
    )
