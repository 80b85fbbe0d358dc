"""FeedForward on a map whose pixels do not fill the kernels' columns, as products over its rows.

x [B,C,H,W] -> Conv -> clamp -> Conv -> Add
=>
x -> Transpose -> [B*H*W,C] -> Gemm -> clamp -> Gemm -> Transpose -> Add

onnxruntime-web's products come in columns of 16: as a convolution, 7 x 7 pixels cost what 64 do.
In rows nothing is lost, and the weights are packed when the model loads.
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import Array, Refuse, const
from attnc.targets.web.expand import clamp, expand
from attnc.targets.web.narrow_forms import static

COLUMNS = 16
#: Where less is lost than this, two Transposes cost more.
LEAST_LOSS = 0.15


def loss(pixels: int) -> float:
    """The part of a product over so many columns that is spent on columns that are not there."""
    return -(-pixels // COLUMNS) * COLUMNS / pixels - 1


class RowsOnOddMaps(AnchorPass):
    """Every FeedForward on such a map."""

    name = "rows_on_odd_maps"
    reason = "a convolution's product over 49 pixels costs as much as over 64"
    anchors = frozenset({"attnc::FeedForward"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Two Gemms in the place of two convolutions."""
        batch, channels, height, width = static(node.inputs[0])
        if loss(height * width) < LEAST_LOSS:
            raise Refuse(f"{height} x {width} pixels fill the columns", node)
        weights = [const(node.inputs[place]) for place in (1, 3)]
        matrices: list[Array] = []
        for weight in weights:
            if weight is None:
                raise Refuse("its weights are not constants", node)
            matrices.append(weight.reshape(weight.shape[:2]).T.copy())
        pixels = height * width
        text = (
            f"  flat_s = Constant <value_ints = {[batch, channels, pixels]}> ()\n"
            "  flat = Reshape (x, flat_s)\n"
            "  turned = Transpose <perm = [0, 2, 1]> (flat)\n"
            f"  rows_s = Constant <value_ints = {[batch * pixels, channels]}> ()\n"
            "  rows = Reshape (turned, rows_s)\n"
            "  h = Gemm (rows, m1, b1)\n" + clamp("a", "h", node) + "  z = Gemm (a, m2, b2)\n"
            f"  back_s = Constant <value_ints = {[batch, pixels, channels]}> ()\n"
            "  back = Reshape (z, back_s)\n"
            "  map = Transpose <perm = [0, 2, 1]> (back)\n"
            f"  size = Constant <value_ints = {[batch, channels, height, width]}> ()\n"
            "  whole = Reshape (map, size)\n"
            "  y = Add (x, whole)"
        )
        expand(node, graph, text, {"m1": matrices[0], "m2": matrices[1]})
        return True
