"""Puts the scale of attention scores into the layer that makes the queries.

Linear(w, b) -> Attention(scale)   =>   Linear(w', b') -> Attention(1), rows of the queries scaled

For programs without the attention operator of iOS 18, where the scale costs an operation a layer.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import attribute, const, constant, is_fused, is_op

#: Operators that score queries packed at `q_at`, and the one that takes them first of three.
_PACKED = ("Attention", "SelectedAttention", "SelectTokens", "SparseAttention")
_WINDOWS = tuple(f"WindowAttention{kind}" for kind in ("", "Bare", "Pooled", "PooledBare"))
_LAYERS = ("Linear", "NormLinear", "FusedConv")


def fold_scales(model: ir.Model) -> int:
    """In place; how many layers took a scale up."""
    return sum(_fold(node, model.graph) for node in list(model.graph) if is_fused(node, *_LAYERS))


def _fold(layer: ir.Node, graph: ir.Graph) -> bool:
    """If all that read the layer score with the same queries and scale."""
    users = _users(layer.outputs[0])
    found = {_queries(user) for user in users if user is not None}
    weight, bias = const(layer.inputs[1]), const(layer.inputs[2])
    if not users or None in users or len(found) != 1 or weight is None or bias is None:
        return False
    at, width, scale = found.pop()
    if scale == 1.0 or width is None or _clamped(layer):
        return False
    rows = slice(at, at + width)
    for place, array in ((1, weight), (2, bias)):
        made = array.astype(np.float64)
        made[rows] *= scale
        name = f"{layer.name}_scaled{place}"
        layer.replace_input_with(place, constant(graph, made.astype(np.float32), name))
    for user in users:
        if user is not None:
            user.attributes["scale"] = ir.AttrFloat32("scale", 1.0)
    return True


def _users(value: ir.Value) -> set[ir.Node | None]:
    """Attentions that take their queries from it; None for any other reader."""
    found: set[ir.Node | None] = {None} if value.is_graph_output() else set()
    for use in value.uses():
        node = use.node
        if is_op(node, "Transpose") and attribute(node, "perm") == [0, 2, 3, 1]:
            found |= _users(node.outputs[0])
        elif is_fused(node, *_PACKED, *_WINDOWS):
            found.add(node if _reads_queries(node, value) else None)
        else:
            found.add(None)
    return found


def _reads_queries(node: ir.Node, value: ir.Value) -> bool:
    """Whether both the queries and nothing else that is scaled come from the value."""
    if is_fused(node, "SparseAttention"):
        return False  # its predictor reads the queries as well
    if is_fused(node, *_WINDOWS):
        return node.inputs[0] is value and value not in list(node.inputs)[1:]
    place = 1 if is_fused(node, "SelectTokens") else 0
    return node.inputs[place] is value and (place == 0 or node.inputs[0] is not value)


def _queries(node: ir.Node) -> tuple[int, int | None, float]:
    """Where the queries begin, their channels, and the scale."""
    scale = float(attribute(node, "scale"))
    if is_fused(node, *_WINDOWS):
        sizes = node.outputs[0].shape
        width = sizes[-1] if sizes is not None else None
        return 0, width if isinstance(width, int) else None, scale
    return attribute(node, "q_at"), attribute(node, "heads") * attribute(node, "dim_qk"), scale


def _clamped(layer: ir.Node) -> bool:
    """Whether bounds apply to what the layer gives, which a scale would move."""
    bounds = [attribute(layer, name) for name in ("min", "max")]
    return any(bound is not None and abs(bound) < 1e30 for bound in bounds)
