"""Puts the scale of attention scores into the layer that makes the queries.

Linear(w, b) -> Attention(scale)   =>   Linear(w', b') -> Attention(1), rows of the queries scaled

The scale would cost an operation a layer, but in the attention operator of iOS 18, which divides by
the root of the width itself: with `operator` only windows, which it does not serve, are folded.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import attribute, const, constant, is_fused, is_op

#: Operators that score queries packed at `q_at`, and the one that takes them first of three.
_PACKED = ("Attention", "SelectedAttention", "SelectTokens", "SparseAttention")
_WINDOWS = tuple(f"WindowAttention{kind}" for kind in ("", "Bare", "Pooled", "PooledBare"))
_LAYERS = ("Linear", "NormLinear", "FusedConv")


def fold_scales(model: ir.Model, *, operator: bool = False) -> int:
    """In place; how many layers took a scale up."""
    readers = _WINDOWS if operator else (*_PACKED, *_WINDOWS)
    layers = [node for node in model.graph if is_fused(node, *_LAYERS)]
    return sum(_fold(node, model.graph, readers) for node in layers)


def _fold(layer: ir.Node, graph: ir.Graph, readers: tuple[str, ...]) -> bool:
    """If all that read the layer score with the same queries and scale."""
    users = _users(layer.outputs[0], readers)
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


def _users(value: ir.Value, readers: tuple[str, ...]) -> set[ir.Node | None]:
    """Attentions that take their queries from it; None for any other reader."""
    found: set[ir.Node | None] = {None} if value.is_graph_output() else set()
    for use in value.uses():
        node = use.node
        if is_op(node, "Transpose") and attribute(node, "perm") == [0, 2, 3, 1]:
            found |= _users(node.outputs[0], readers)
        elif is_fused(node, *readers):
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
    if node.inputs[place] is not value or (place == 1 and node.inputs[0] is value):
        return False
    return node.inputs[place + 1] is not value or not _overlapping(node)


def _overlapping(node: ir.Node) -> bool:
    """Whether channels of the queries are keys or values as well."""
    at, width, _ = _queries(node)
    others = [(attribute(node, "k_at"), width or 0)]
    if "v_at" in node.attributes:
        others.append(
            (attribute(node, "v_at"), attribute(node, "heads") * attribute(node, "dim_v"))
        )
    return any(at < begin + count and begin < at + (width or 0) for begin, count in others)


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
