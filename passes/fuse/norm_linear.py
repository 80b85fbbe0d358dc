"""A linear layer takes up the LayerNorm in front of it; scale and shift go into its weights.

x -> LayerNormalization(g, s) -> Linear(w, b)     =>     NormLinear(x, w g, b + w s)

A norm that several linear layers read is computed again in each: a row in the level-1 cache costs
less than writing the normalised tensor and reading it back.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.canonical.layer_norm import last_axis_norm
from attnc.passes.fuse.token_linear import TokenLinear, token_linear
from attnc.passes.graph import Array, Refuse, attribute, constant, new_node, replace

#: Below this many outputs per norm the norm itself is a good part of the work.
FEW_OUTPUTS = 32


class FuseNormLinear(AnchorPass):
    """All readers of the norm must be linear layers, else it has to be computed anyway."""

    name = "fuse_norm_linear"
    reason = "the normalised tensor need not reach memory, and its affine part is free"
    anchors = frozenset({"LayerNormalization"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces every reader."""
        affine = last_axis_norm(node)
        if affine is None or node.inputs[0] is None or affine[0].dtype != np.float32:
            return False
        layers = _readers(node)
        epsilon = float(attribute(node, "epsilon", 1e-5))
        for layer in layers:
            _fuse(layer, node, affine, epsilon, graph)
        return True


def _readers(norm: ir.Node) -> list[TokenLinear]:
    out = norm.outputs[0]
    users = list(dict.fromkeys(use.node for use in out.uses()))
    found = [token_linear(user, "Linear", "LinearGelu") for user in users]
    layers = [layer for layer in found if layer is not None and layer.x is out]
    if not layers:
        raise Refuse("no linear layer with constant weights reads it")
    others = [user for user, layer in zip(users, found, strict=True) if layer not in layers]
    if others or out.is_graph_output():
        what = f"{others[0].op_type} {others[0].name!r}" if others else "the graph's output"
        raise Refuse(f"it is also read by {what}")
    if any(layer.node.op_type == "Linear" and not layer.plain for layer in layers):
        raise Refuse("a layer that reads it clamps its result")
    if len(layers) > 1 and any(layer.bias().size < FEW_OUTPUTS for layer in layers):
        raise Refuse(f"several layers read it, one of them has fewer than {FEW_OUTPUTS} outputs")
    return layers


def _fuse(
    layer: TokenLinear,
    norm: ir.Node,
    affine: tuple[Array, Array],
    epsilon: float,
    graph: ir.Graph,
) -> None:
    scale, shift = (array.astype(np.float64) for array in affine)
    w = layer.weight().astype(np.float64)
    b = (layer.bias() + w @ shift).astype(np.float32)
    columns = (w * scale).astype(np.float32)
    inputs = [
        norm.inputs[0],
        constant(graph, columns, "norm_rows"),
        constant(graph, b, "norm_bias"),
    ]
    name = "NormLinearGelu" if layer.node.op_type == "LinearGelu" else "NormLinear"
    new = new_node(name, inputs, {"epsilon": epsilon}, domain="attnc", like=layer.out)
    replace(graph, layer.node, [norm], [new])
