"""A 1x1 convolution whose result is read pixel by pixel becomes a product over pixels.

x [B,C,H,W] -> FusedConv 1x1 -> Transpose [B,H,W,N]
=>
x -> Transpose [B,H,W,C] -> MatMul -> Add -> clamp

The Transpose in front moves fewer channels (a third for qkv) and is often there already.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import (
    Refuse,
    attribute,
    const,
    constant,
    is_fused,
    new_node,
    replace,
    sole_user,
)
from attnc.targets.web.narrow_forms import static

CHANNELS_LAST = [0, 2, 3, 1]


class RowsFromMaps(AnchorPass):
    """Transposes to channels-last behind a plain 1x1 FusedConv with constant weights."""

    name = "rows_from_maps"
    reason = "turning the smaller side, and a product whose weights are packed once"
    anchors = frozenset({"Transpose"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Transpose, Gemm on rows, Reshape, and what the clamp asks for."""
        data = node.inputs[0]
        layer = None if data is None else data.producer()
        if layer is None or not is_fused(layer, "FusedConv"):
            return False
        if attribute(node, "perm") != CHANNELS_LAST or not _pointwise(layer):
            return False
        if sole_user(layer.outputs[0]) is not node:
            raise Refuse("the map is read as a map as well", layer)
        weight = const(layer.inputs[1])
        if weight is None:
            raise Refuse("its weights are not constants", layer)
        rows, columns = weight.shape[:2]
        if columns > rows:
            raise Refuse("the input has more channels than the result", layer)
        sizes, out = static(layer.inputs[0]), node.outputs[0]
        last = (sizes[0], *sizes[2:], columns)
        turned = new_node(
            "Transpose", [layer.inputs[0]], {"perm": CHANNELS_LAST}, like=out, sizes=last
        )
        count = prod(last[:-1])
        flat = _reshaped(graph, turned, (count, columns), out)
        matrix = constant(graph, weight.reshape(rows, columns).T.copy(), "weights")
        product = new_node(
            "Gemm", [flat.outputs[0], matrix, layer.inputs[2]], like=out, sizes=(count, rows)
        )
        bounds = [
            constant(graph, np.array(attribute(layer, name), np.float32), name)
            for name in ("min", "max")
        ]
        clamped = new_node("Clip", [product.outputs[0], *bounds], like=out, sizes=(count, rows))
        whole = _reshaped(graph, clamped, (*last[:-1], rows), out)
        replace(graph, node, [layer], [turned, flat, product, clamped, whole])
        return True


def _reshaped(graph: ir.Graph, node: ir.Node, to: tuple[int, ...], like: ir.Value) -> ir.Node:
    target = constant(graph, np.array(to, np.int64), "sizes")
    return new_node("Reshape", [node.outputs[0], target], like=like, sizes=to)


def _pointwise(layer: ir.Node) -> bool:
    weight = static(layer.inputs[1])
    plain = all(
        all(item == nothing for item in attribute(layer, name, [nothing]))
        for name, nothing in (("strides", 1), ("dilations", 1), ("pads", 0))
    )
    return weight[2:] == (1, 1) and attribute(layer, "group", 1) == 1 and plain
