"""Attention of selected tokens as TensorRT fuses it: the kept rows are taken before, not after.

qkv, index -> SelectedAttention   =>   qkv[:, :, q] -> row 0 and rows 1 + index -> Attention(., qkv)
With a fused row every row attends, and the dropped ones' weighted sum is taken behind:
qkv -> Attention -> row 0, rows 1 + index, weights x rows 1..
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.attention import HEADS
from attnc.compiler.ops.base import DOMAIN
from attnc.passes.graph import Refuse, attribute, constant, new_node, replace
from attnc.targets.tensorrt.sizes import given, shape_of, sizes_of


def selected_attention(node: ir.Node, graph: ir.Graph) -> ir.Node:
    """Replace `SelectedAttention` by an `Attention` and what selects; returns the Attention."""
    query, memory, index = (given(node, place) for place in range(3))
    heads = {name: attribute(node, name) for name in HEADS}
    if attribute(node, "fuse"):
        return _all_rows(node, graph, heads)
    batch, tokens, _ = sizes_of(node, 0, 3)
    width = heads["heads"] * heads["dim_qk"]
    bounds = [_ints(graph, value) for value in (heads["q_at"], heads["q_at"] + width, 2)]
    cut = new_node("Slice", [query, *bounds], like=query, sizes=[batch, tokens, width])
    taken = _take(node, graph, cut.outputs[0], index)
    asked = taken[-1].outputs[0]
    how = {**heads, "q_at": 0}
    attend = new_node("Attention", [asked, memory], how, domain=DOMAIN, like=node.outputs[0])
    replace(graph, node, [node], [cut, *taken, attend])
    return attend


def _all_rows(node: ir.Node, graph: ir.Graph, heads: dict[str, Any]) -> ir.Node:
    """Every row attends; the kept ones and the sum of the dropped are taken behind."""
    query, memory, index, weights = (given(node, place) for place in range(4))
    batch, tokens, _ = sizes_of(node, 0, 3)
    width = heads["heads"] * heads["dim_v"]
    attend = new_node(
        "Attention",
        [query, memory],
        heads,
        domain=DOMAIN,
        like=query,
        sizes=[batch, tokens, width],
    )
    rows = attend.outputs[0]
    taken = _take(node, graph, rows, index)
    patches = taken[1].outputs[0]
    row = new_node("Unsqueeze", [weights, _ints(graph, 1)], like=rows, sizes=[batch, 1, tokens - 1])
    total = new_node("MatMul", [row.outputs[0], patches], like=rows, sizes=[batch, 1, width])
    joined = [*taken[-1].inputs, total.outputs[0]]
    join = new_node("Concat", joined, {"axis": 1}, like=node.outputs[0])
    replace(graph, node, [node], [attend, *taken[:-1], row, total, join])
    return attend


def _take(node: ir.Node, graph: ir.Graph, x: ir.Value, index: ir.Value) -> list[ir.Node]:
    """Row 0 and the rows 1 + index of x [B,N,C]; the last node joins them."""
    batch, tokens, width = shape_of(x, 3, node)
    kept = shape_of(index, 2, node)[1]
    if not isinstance(tokens, int) or not isinstance(kept, int):
        raise Refuse("the number of tokens is not known", node)
    first = _rows(graph, x, (0, 1), [batch, 1, width])
    patches = _rows(graph, x, (1, tokens), [batch, tokens - 1, width])
    places = new_node("Unsqueeze", [index, _ints(graph, 2)], like=index, sizes=[batch, kept, 1])
    inputs = [patches.outputs[0], places.outputs[0]]
    found = new_node("GatherND", inputs, {"batch_dims": 1}, like=x, sizes=[batch, kept, width])
    parts = [first.outputs[0], found.outputs[0]]
    join = new_node("Concat", parts, {"axis": 1}, like=x, sizes=[batch, 1 + kept, width])
    return [first, patches, places, found, join]


def _rows(graph: ir.Graph, x: ir.Value, span: tuple[int, int], sizes: list[Any]) -> ir.Node:
    bounds = [_ints(graph, value) for value in (*span, 1)]
    return new_node("Slice", [x, *bounds], like=x, sizes=sizes)


def _ints(graph: ir.Graph, *values: int) -> ir.Value:
    return constant(graph, np.array(values, np.int64), "select")
