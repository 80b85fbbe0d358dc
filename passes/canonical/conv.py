"""Writes out what a Conv leaves implicit, so that fusions need one form of it.

Conv(x, w)  auto_pad=SAME_UPPER        =>        Conv(x, w, 0)  all attributes, explicit pads
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import (
    Array,
    Refuse,
    attribute,
    const,
    constant,
    input_at,
    is_const,
    is_op,
    new_node,
    replace,
    shape,
)

GEOMETRY = ("kernel_shape", "strides", "pads", "dilations", "group")


@dataclass(frozen=True)
class Conv:
    """A canonical two-dimensional Conv with constant weights, unpacked."""

    node: ir.Node
    x: ir.Value
    w: ir.Value
    b: ir.Value

    @property
    def out(self) -> ir.Value:
        """Its result."""
        return self.node.outputs[0]

    def geometry(self) -> dict[str, object]:
        """kernel_shape, strides, pads, dilations, group."""
        return {name: attribute(self.node, name) for name in GEOMETRY}

    def weight(self) -> Array:
        """[O, C/group, kh, kw]"""
        array = const(self.w)
        assert array is not None
        return array

    def bias(self) -> Array:
        """[O]"""
        array = const(self.b)
        assert array is not None
        return array

    @property
    def single(self) -> bool:
        """Whether it computes in float32, as the fused operators do."""
        return self.w.dtype == ir.DataType.FLOAT

    @property
    def pointwise(self) -> bool:
        """1x1, stride 1, no padding, one group: a matrix product over the channels."""
        expected = {
            "kernel_shape": [1, 1],
            "strides": [1, 1],
            "pads": [0, 0, 0, 0],
            "dilations": [1, 1],
            "group": 1,
        }
        return {**self.geometry(), "dilations": [1, 1]} == expected

    @property
    def depthwise(self) -> bool:
        """One filter per channel, as many channels out as in."""
        assert self.w.shape is not None
        group = attribute(self.node, "group")
        return bool(self.w.shape[0] == group and self.w.shape[1] == 1)


def conv_of(node: ir.Node | None) -> Conv | None:
    """The Conv at `node`, if it has the canonical form; else None."""
    if node is None or not is_op(node, "Conv") or len(node.inputs) != 3:
        return None
    x, w, b = node.inputs
    if x is None or w is None or b is None or not is_const(w) or not is_const(b):
        return None
    if any(name not in node.attributes for name in GEOMETRY):
        return None
    return Conv(node, x, w, b)


class CanonicalConv(AnchorPass):
    """2-D convolutions with constant weights get a bias, explicit pads and all attributes."""

    name = "canonical_conv"
    reason = "one form of convolution: bias present, padding explicit, every attribute written"
    anchors = frozenset({"Conv"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Rewrites the node unless it has the canonical form already."""
        if conv_of(node) is not None:
            return False
        w, b = node.inputs[1], input_at(node, 2)
        if not is_const(w) or (b is not None and not is_const(b)):
            raise Refuse("its weights are not constants")
        assert w is not None
        weight = const(w)
        assert weight is not None
        if weight.ndim != 4:
            return False
        if b is None:
            b = constant(graph, np.zeros(weight.shape[0], weight.dtype), f"{w.name}_bias")
        geometry = {
            "kernel_shape": list(weight.shape[2:]),
            "strides": attribute(node, "strides", [1, 1]),
            "pads": explicit_pads(node, weight.shape[2:]),
            "dilations": attribute(node, "dilations", [1, 1]),
            "group": attribute(node, "group", 1),
        }
        replace(graph, node, [], [new_node("Conv", [node.inputs[0], w, b], geometry)])
        return True


def explicit_pads(node: ir.Node, kernel: tuple[int, ...]) -> list[int]:
    """[top, left, bottom, right] of a Conv or pooling node, `auto_pad` resolved."""
    auto = attribute(node, "auto_pad", "NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else auto
    if auto == "NOTSET":
        pads: list[int] = attribute(node, "pads", [0, 0, 0, 0])
        return pads
    if auto == "VALID":
        return [0, 0, 0, 0]
    sizes = shape(node.inputs[0])
    strides, dilations = attribute(node, "strides", [1, 1]), attribute(node, "dilations", [1, 1])
    before, after = [], []
    for axis in range(2):
        size = sizes[2 + axis] if sizes else None
        if size is None:
            raise Refuse("auto_pad on a symbolic size")
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        total = max((-(-size // strides[axis]) - 1) * strides[axis] + reach - size, 0)
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    return before + after
