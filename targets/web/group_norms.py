"""SHViT's mixer with one InstanceNormalization in front, its affine part in the weights of qkv.

x1 -> ReduceMean, Sub, Mul, ReduceMean, Add, Sqrt, Div, Mul(g), Add(s) -> Conv(w) -> Mul(scale)
=>
x1 -> Reshape -> InstanceNormalization -> Reshape -> Conv(w g, scaled rows of q)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import Array, Refuse, attribute, const
from attnc.targets.web.expand import clamp, expand
from attnc.targets.web.narrow_forms import static


class MixerWithInstanceNorm(AnchorPass):
    """Every SingleHeadAttention whose weights are constants."""

    name = "mixer_with_instance_norm"
    reason = "nine nodes on small maps become three"
    anchors = frozenset({"attnc::SingleHeadAttention"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """The form with folded weights."""
        arrays = [const(value) for value in node.inputs[1:5]]
        if any(array is None for array in arrays):
            raise Refuse("its weights are not constants", node)
        sizes = static(node.inputs[0])
        constants = _folded([np.asarray(array) for array in arrays], node)
        constants |= {"one": np.ones(1, np.float32), "zero": np.zeros(1, np.float32)}
        expand(node, graph, _text(node, sizes), constants)
        return True


def _folded(arrays: list[Array], node: ir.Node) -> dict[str, Array]:
    """Weights and bias of qkv with the norm's scale and shift, and the scale of the scores."""
    gamma, beta, weight, bias = (array.astype(np.float64) for array in arrays)
    shifted = bias + weight[:, :, 0, 0] @ beta
    scaled = weight * gamma[None, :, None, None]
    rows = attribute(node, "dim_qk")
    scaled[:rows] *= attribute(node, "scale")
    shifted[:rows] *= attribute(node, "scale")
    return {"wqkv": scaled.astype(np.float32), "bqkv": shifted.astype(np.float32)}


def _text(node: ir.Node, sizes: tuple[int, ...]) -> str:
    batch, channels, height, width = sizes
    dim_qk, dim_v = attribute(node, "dim_qk"), attribute(node, "dim_v")
    whole = dim_v == channels
    cut = (
        "  x1 = Identity (x)\n"
        if whole
        else f"  cuts = Constant <value_ints = {[dim_v, channels - dim_v]}> ()\n"
        "  x1, x2 = Split <axis = 1> (x, cuts)\n"
    )
    join = "  joined = " + ("Identity (o4)\n" if whole else "Concat <axis = 1> (o4, x2)\n")
    epsilon = attribute(node, "epsilon")
    return (
        cut
        + "  group = Constant <value_ints = [0, 1, -1]> ()\n"
        + "  flat1 = Reshape (x1, group)\n"
        + f"  n1 = InstanceNormalization <epsilon = {epsilon!r}> (flat1, one, zero)\n"
        + f"  map = Constant <value_ints = {[batch, dim_v, height, width]}> ()\n"
        + "  n = Reshape (n1, map)\n"
        + "  qkv = Conv (n, wqkv, bqkv)\n"
        + "  flat = Constant <value_ints = [0, 0, -1]> ()\n"
        + "  rows = Reshape (qkv, flat)\n"
        + f"  parts = Constant <value_ints = {[dim_qk, dim_qk, dim_v]}> ()\n"
        + "  q, k, v = Split <axis = 1> (rows, parts)\n"
        + "  qt = Transpose <perm = [0, 2, 1]> (q)\n"
        + "  scores = MatMul (qt, k)\n"
        + "  weights = Softmax <axis = -1> (scores)\n"
        + "  wt = Transpose <perm = [0, 2, 1]> (weights)\n"
        + "  o = MatMul (v, wt)\n"
        + "  o4 = Reshape (o, map)\n"
        + join
        + clamp("a", "joined", node)
        + "  p = Conv (a, wproj, bproj)\n"
        + "  y = Add (x, p)"
    )
