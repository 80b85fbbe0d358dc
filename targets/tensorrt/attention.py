"""Attention as TensorRT fuses it: one kernel for both products and the softmax.

qkv -> Attention   =>   qkv -> (Slice -> Reshape -> Transpose) x 3 -> Mul -> MatMul -> Softmax
                        -> MatMul -> Transpose -> Reshape
Where the runtime has a fused kernel for the operator of opset 23, that stands in the middle, and q,
k and v are turned together: one kernel instead of three. Turned together in front of products they
gain nothing, and where tokens are selected behind them TensorRT for RTX 1.7.1 fails on an internal
check ("def_tactic_desc").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import Refuse, attribute, constant, new_node, replace
from attnc.targets.tensorrt.sizes import given, shape_of, sizes_of

#: Widths of heads that its fused kernel takes: at least this, and a multiple of that.
LEAST_WIDTH, WIDTH_STEP = 16, 8


def attention(node: ir.Node, graph: ir.Graph) -> None:
    """Replace `Attention` by standard operators on [B, heads, N, width]."""
    _rewrite(node, graph, operator=False)


def attention_operator(node: ir.Node, graph: ir.Graph) -> None:
    """Replace `Attention` by the operator of opset 23. Raises Refuse where it has no kernel."""
    heads, width = attribute(node, "heads"), attribute(node, "dim_qk")
    if width != attribute(node, "dim_v"):
        raise Refuse("queries and values differ in width", node)
    if width < LEAST_WIDTH or width % WIDTH_STEP:
        raise Refuse(f"heads of width {width} have no fused kernel", node)
    if heads == 1 and sizes_of(node, 0, 3)[0] == 1:
        raise Refuse("one head of one picture has no fused kernel", node)
    _rewrite(node, graph, operator=True)


def _rewrite(node: ir.Node, graph: ir.Graph, *, operator: bool) -> None:
    memory = given(node, 1)
    batch, rows, _ = sizes_of(node, 0, 3)
    heads, wide = attribute(node, "heads"), attribute(node, "dim_v")
    made, parts = (_cut_packed(node, graph) if operator else None) or _cut_each(node, graph)
    out = (_operator if operator else _products)(node, graph, parts)
    sizes = [batch, rows, heads, wide]
    turned = new_node(
        "Transpose", [out[-1].outputs[0]], {"perm": [0, 2, 1, 3]}, like=memory, sizes=sizes
    )
    target = constant(graph, np.array([0, 0, heads * wide]), "rows")
    flat = new_node(
        "Reshape", [turned.outputs[0], target], like=memory, sizes=[batch, rows, heads * wide]
    )
    replace(graph, node, [node], [*made, *out, turned, flat])


Parts = tuple[list[ir.Node], list[ir.Value]]


def _cut_packed(node: ir.Node, graph: ir.Graph) -> Parts | None:
    """q, k, v side by side and alike: one Reshape and one Transpose for the three."""
    query, memory = given(node, 0), given(node, 1)
    heads, width = attribute(node, "heads"), attribute(node, "dim_qk")
    places = tuple(attribute(node, name) for name in ("q_at", "k_at", "v_at"))
    whole = heads * width
    if query is not memory or width != attribute(node, "dim_v"):
        return None
    batch, tokens, channels = sizes_of(node, 1, 3)
    if places != (0, whole, 2 * whole) or channels != 3 * whole:
        return None
    split = constant(graph, np.array([0, 0, 3, heads, width]), "split")
    parted = new_node(
        "Reshape", [memory, split], like=memory, sizes=[batch, tokens, 3, heads, width]
    )
    sizes = [3, batch, heads, tokens, width]
    turned = new_node(
        "Transpose", [parted.outputs[0]], {"perm": [2, 0, 3, 1, 4]}, like=memory, sizes=sizes
    )
    taken = [
        new_node(
            "Gather",
            [turned.outputs[0], constant(graph, np.array(index), "which")],
            {"axis": 0},
            like=memory,
            sizes=sizes[1:],
        )
        for index in range(3)
    ]
    return [parted, turned, *taken], [item.outputs[0] for item in taken]


def _cut_each(node: ir.Node, graph: ir.Graph) -> Parts:
    """q, k and v wherever they lie."""
    query, memory = given(node, 0), given(node, 1)
    heads = attribute(node, "heads")
    widths = [attribute(node, name) for name in ("dim_qk", "dim_qk", "dim_v")]
    made, parts = [], []
    for x, place, width in zip(
        (query, memory, memory), ("q_at", "k_at", "v_at"), widths, strict=True
    ):
        steps = _heads_of(node, graph, x, attribute(node, place), heads, width)
        made += steps
        parts.append(steps[-1].outputs[0])
    return made, parts


def _heads_of(
    node: ir.Node, graph: ir.Graph, x: ir.Value, at: int, heads: int, width: int
) -> list[ir.Node]:
    batch, rows, channels = shape_of(x, 3, node)
    steps = []
    if (at, heads * width) != (0, channels):
        bounds = [constant(graph, np.array([i]), "cut") for i in (at, at + heads * width, 2)]
        steps.append(new_node("Slice", [x, *bounds], like=x, sizes=[batch, rows, heads * width]))
        x = steps[0].outputs[0]
    target = constant(graph, np.array([0, 0, heads, width]), "heads")
    parted = new_node("Reshape", [x, target], like=x, sizes=[batch, rows, heads, width])
    sizes = [batch, heads, rows, width]
    turned = new_node("Transpose", [parted.outputs[0]], {"perm": [0, 2, 1, 3]}, like=x, sizes=sizes)
    return [*steps, parted, turned]


def _operator(node: ir.Node, graph: ir.Graph, parts: Sequence[ir.Value]) -> list[ir.Node]:
    sizes = [*shape_of(parts[0], 4, node)[:3], shape_of(parts[2], 4, node)[3]]
    given = {"scale": attribute(node, "scale")}
    return [new_node("Attention", parts, given, like=parts[0], sizes=sizes)]


def _products(node: ir.Node, graph: ir.Graph, parts: Sequence[ir.Value]) -> list[ir.Node]:
    q, k, v = parts
    scale = constant(graph, np.array(attribute(node, "scale"), np.float32), "scale")
    scaled = new_node("Mul", [q, scale], like=q)
    batch, heads, columns, width = shape_of(k, 4, node)
    turned = new_node(
        "Transpose", [k], {"perm": [0, 1, 3, 2]}, like=k, sizes=[batch, heads, width, columns]
    )
    square = [batch, heads, shape_of(q, 4, node)[2], columns]
    scores = new_node("MatMul", [scaled.outputs[0], turned.outputs[0]], like=q, sizes=square)
    soft = new_node("Softmax", [scores.outputs[0]], {"axis": -1}, like=q, sizes=square)
    sizes = [*square[:3], shape_of(v, 4, node)[3]]
    mixed = new_node("MatMul", [soft.outputs[0], v], like=q, sizes=sizes)
    return [scaled, turned, scores, soft, mixed]
