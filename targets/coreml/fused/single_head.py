"""SHViT's attention: one head on the first channels of a map, the others pass by."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.fused.convolutions import clamp, pointwise
from attnc.targets.coreml.fused.heads import attend, attend_rows, has_operator
from attnc.targets.coreml.writer import sizes


def single_head_attention(node: ir.Node, to: Forms) -> None:
    """x + proj(clamp(concat(attention(norm x[:v]), x[v:])))

    The norm over all of x[:v] gets its scale and shift from the convolution behind it.
    """
    x, gamma, beta, wqkv, bqkv, wproj, bproj = (to.plain(value) for value in node.inputs)
    batch, channels, height, width = sizes(x)
    dim_qk, dim_v = attribute(node, "dim_qk"), attribute(node, "dim_v")
    mixed, passed = x, None
    if dim_v < channels:
        mixed, passed = to.emit("split", x=x, split_sizes=[dim_v, channels - dim_v], axis=1)
    norm = to.emit("layer_norm", x=mixed, axes=[1, 2, 3], epsilon=float(attribute(node, "epsilon")))
    kernel = np.asarray(wqkv, np.float64)
    shift = (bqkv + kernel[:, :, 0, 0] @ np.asarray(beta, np.float64)).astype(np.float32)
    kernel = (kernel * np.reshape(gamma, (1, -1, 1, 1))).astype(np.float32)
    factor = attribute(node, "scale")
    if not has_operator(to):  # the queries carry the scale, so that the scores need not
        kernel[:dim_qk] *= factor
        shift[:dim_qk] *= factor
        factor = 1.0
    qkv = pointwise(to, norm, kernel, shift)
    packed = to.reshape(qkv, [batch, 1, 2 * dim_qk + dim_v, height * width])
    counts = [dim_qk, dim_qk, dim_v]
    if has_operator(to):
        packed = to.emit("transpose", x=packed, perm=[0, 1, 3, 2])
        q, k, v = to.emit("split", x=packed, split_sizes=counts, axis=3)
        out = attend_rows(to, q, k, v, factor)
    else:
        q, k, v = to.emit("split", x=packed, split_sizes=counts, axis=2)
        out = attend(to, q, k, v, factor)
    joined = to.reshape(out, [batch, dim_v, height, width])
    if passed is not None:
        joined = to.emit("concat", values=[joined, passed], axis=1)
    active = clamp(to, joined, attribute(node, "min"), attribute(node, "max"))
    to.set(node.outputs[0], to.emit("add", x=x, y=pointwise(to, active, wproj, bproj)))


OPERATORS = {"SingleHeadAttention": single_head_attention}
