"""How each operator computes some rows of its output only: from which rows of its inputs.

A step takes the operator, its output, the rows wanted and the graph, and gives the nodes of the
narrowed operator, or None where nothing can be saved. Operators that mix rows have none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.base import DOMAIN
from attnc.passes.graph import attribute, const, constant, new_node, shape


@dataclass(frozen=True)
class Rows:
    """The tokens wanted; with `alone` the one row without its axis, [B, C]."""

    numbers: tuple[int, ...]
    alone: bool = False

    def sizes(self, batch: Any, width: Any) -> list[Any]:
        """The shape of these rows."""
        return [batch, width] if self.alone else [batch, len(self.numbers), width]

    def of(self, value: ir.Value) -> list[Any]:
        """The shape of these rows of a value [B, N, C]."""
        batch, _, width = list(value.shape or [])
        return self.sizes(batch, width)


Step = Callable[[ir.Node, ir.Value, Rows, ir.Graph], "list[ir.Node] | None"]


def chosen(value: ir.Value, rows: Rows, graph: ir.Graph) -> tuple[ir.Value, list[ir.Node]]:
    """These rows of a value [B, N, C], and the node that takes them."""
    if not rows.alone and list(rows.numbers) == list(range((shape(value) or [])[1] or 0)):
        return value, []
    numbers = np.array(rows.numbers, np.int64)
    index = constant(graph, numbers.reshape(()) if rows.alone else numbers, "rows")
    node = new_node("Gather", [value, index], {"axis": 1}, like=value, sizes=rows.of(value))
    return node.outputs[0], [node]


def attributes_of(node: ir.Node) -> dict[str, Any]:
    """All attributes as plain values."""
    return {name: attribute(node, name) for name in node.attributes}


def again(
    node: ir.Node, inputs: Sequence[ir.Value | None], like: ir.Value, sizes: Sequence[Any]
) -> ir.Node:
    """The same operator on other inputs."""
    attributes = attributes_of(node)
    return new_node(node.op_type, inputs, attributes, domain=node.domain, like=like, sizes=sizes)


def row_wise(*places: int) -> Step:
    """An operator whose inputs at `places` have a row for each row of the output."""

    def step(node: ir.Node, out: ir.Value, rows: Rows, graph: ir.Graph) -> list[ir.Node] | None:
        inputs, nodes = list(node.inputs), list[ir.Node]()
        for place in places:
            value = inputs[place]
            if value is None or value.shape is None or len(value.shape) != 3:
                return None
            inputs[place], made = chosen(value, rows, graph)
            nodes += made
        return [*nodes, again(node, inputs, out, rows.of(out))]

    return step


def elementwise(node: ir.Node, out: ir.Value, rows: Rows, graph: ir.Graph) -> list[ir.Node] | None:
    """Operands with a row per token are narrowed, those that broadcast stay."""
    tokens = (shape(out) or [])[1]
    inputs, nodes = list(node.inputs), list[ir.Node]()
    for place, value in enumerate(inputs):
        sizes = shape(value)
        if value is None:
            continue
        if sizes is None or len(sizes) > 3:
            return None
        if len(sizes) < 2 or sizes[-2] != tokens:
            continue
        array = const(value)
        if array is not None:
            inputs[place] = constant(graph, array[..., list(rows.numbers), :], f"{value.name}_rows")
        elif len(sizes) == 3:
            inputs[place], made = chosen(value, rows, graph)
            nodes += made
        else:
            return None
    return [*nodes, again(node, inputs, out, rows.of(out))]


def last_axis(node: ir.Node, out: ir.Value, rows: Rows, graph: ir.Graph) -> list[ir.Node] | None:
    """A normalisation over the channels."""
    if attribute(node, "axis", -1) not in (-1, 2) or len(node.outputs) > 1 or not node.inputs[0]:
        return None
    narrow, nodes = chosen(node.inputs[0], rows, graph)
    attributes = {**attributes_of(node), "axis": -1}
    inputs = [narrow, *node.inputs[1:]]
    return [*nodes, new_node(node.op_type, inputs, attributes, like=out, sizes=rows.of(out))]


def attention(node: ir.Node, out: ir.Value, rows: Rows, graph: ir.Graph) -> list[ir.Node] | None:
    """Queries for the rows wanted; keys and values for all."""
    query, memory = node.inputs
    if query is None or memory is None:
        return None
    places, nodes = attributes_of(node), list[ir.Node]()
    split = split_layer(node, places, rows, graph) if query is memory else None
    if split is None:
        narrow, nodes = chosen(query, rows, graph)
    else:
        narrow, memory, places, nodes = split
    inputs, sizes = [narrow, memory], rows.of(out)
    return [*nodes, new_node("Attention", inputs, places, domain=DOMAIN, like=out, sizes=sizes)]


Split = tuple[ir.Value, ir.Value, dict[str, Any], list[ir.Node]]


def split_layer(
    reader: ir.Node, places: dict[str, Any], rows: Rows, graph: ir.Graph
) -> Split | None:
    """One layer for q, k and v becomes one for q, on the rows wanted, and one for k and v.

    Gives q, the k and v, where they are there, and the new nodes; None if others need the layer.
    """
    packed = reader.inputs[0]
    layer = packed.producer() if packed is not None else None
    if packed is None or layer is None or layer.op_type not in ("Linear", "NormLinear"):
        return None
    if {use.node for use in packed.uses()} != {reader} or packed.is_graph_output():
        return None
    x, weight, bias = layer.inputs[0], const(layer.inputs[1]), const(layer.inputs[2])
    if x is None or weight is None or bias is None or x.shape is None or len(x.shape) != 3:
        return None
    width, deep = places["heads"] * places["dim_qk"], places["heads"] * places["dim_v"]
    q = np.arange(places["q_at"], places["q_at"] + width)
    k = np.arange(places["k_at"], places["k_at"] + width)
    v = np.arange(places["v_at"], places["v_at"] + deep)
    narrow, nodes = chosen(x, rows, graph)
    made = []
    for source, channels, hint in ((narrow, q, "q"), (x, np.concatenate([k, v]), "kv")):
        rows_of = constant(graph, weight[channels], f"{layer.inputs[1].name}_{hint}")  # type: ignore[union-attr]
        shift = constant(graph, bias[channels], f"{layer.inputs[2].name}_{hint}")  # type: ignore[union-attr]
        sizes = [*list(source.shape or [])[:2], len(channels)]
        made.append(again(layer, [source, rows_of, shift], packed, sizes))
    places = {**places, "q_at": 0, "k_at": 0, "v_at": width}
    return made[0].outputs[0], made[1].outputs[0], places, [*nodes, *made]


def selected_attention(
    node: ir.Node, out: ir.Value, rows: Rows, graph: ir.Graph
) -> list[ir.Node] | None:
    """The class token comes first whatever is selected."""
    query, memory = node.inputs[:2]
    if rows.numbers != (0,) or query is None:
        return None
    narrow, nodes = chosen(query, rows, graph)
    places = {name: value for name, value in attributes_of(node).items() if name != "fuse"}
    sizes = rows.of(out)
    fused = new_node("Attention", [narrow, memory], places, domain=DOMAIN, like=out, sizes=sizes)
    return [*nodes, fused]


def select_tokens(
    node: ir.Node, out: ir.Value, rows: Rows, graph: ir.Graph
) -> list[ir.Node] | None:
    """The class token is row 0 before and after a selection."""
    x = node.inputs[0]
    if rows.numbers != (0,) or x is None or out is not node.outputs[0]:
        return None
    return chosen(x, rows, graph)[1] or None


def sparse_attention(
    node: ir.Node, out: ir.Value, rows: Rows, graph: ir.Graph
) -> list[ir.Node] | None:
    """The class token attends everywhere: its row needs no predictor.

    Inactive tokens have keys and values of zero there, so that they count in its softmax.
    """
    qkv = node.inputs[0]
    if rows.numbers != (0,) or qkv is None:
        return None
    heads, dim = attribute(node, "heads"), attribute(node, "dim")
    places = {"q_at": 0, "k_at": heads * dim, "v_at": 2 * heads * dim}
    places |= {"heads": heads, "dim_qk": dim, "dim_v": dim, "scale": attribute(node, "scale")}
    split = split_layer(node, places, rows, graph)
    if split is None:
        narrow, nodes = chosen(qkv, rows, graph)
        memory = qkv
    else:
        narrow, memory, places, nodes = split
    if node.op_type == "SparseAttentionActive":
        narrow, memory, made = _masked(node.inputs[-1], narrow, memory, rows, graph)
        nodes = [*nodes, *made]
    inputs, sizes = [narrow, memory], rows.of(out)
    return [*nodes, new_node("Attention", inputs, places, domain=DOMAIN, like=out, sizes=sizes)]


def _masked(
    active: ir.Value | None, query: ir.Value, memory: ir.Value, rows: Rows, graph: ir.Graph
) -> tuple[ir.Value, ir.Value, list[ir.Node]]:
    """Both with zeros for what is not active, [B, N] of ones and zeros."""
    axes = constant(graph, np.array([2], np.int64), "channel_axis")
    sizes = [*list(memory.shape or [])[:2], 1]
    mask = new_node("Unsqueeze", [active, axes], like=memory, sizes=sizes)
    some, nodes = chosen(mask.outputs[0], rows, graph)
    made = [
        new_node("Mul", [value, with_mask], like=value)
        for value, with_mask in ((query, some), (memory, mask.outputs[0]))
    ]
    return made[0].outputs[0], made[1].outputs[0], [mask, *nodes, *made]


def concat(node: ir.Node, out: ir.Value, rows: Rows, graph: ir.Graph) -> list[ir.Node] | None:
    """Rows that all come from one of the values joined."""
    if attribute(node, "axis", 0) % 3 != 1:
        return None
    start = 0
    for value in node.inputs:
        count = (shape(value) or [None] * 3)[1]
        if value is None or count is None:
            return None
        if all(start <= row < start + count for row in rows.numbers):
            inside = Rows(tuple(row - start for row in rows.numbers))
            found, nodes = chosen(value, inside, graph)
            return nodes or [new_node("Identity", [found], like=found)]
        start += count
    return None


def gather(node: ir.Node, out: ir.Value, rows: Rows, graph: ir.Graph) -> list[ir.Node] | None:
    """A choice of a choice."""
    index, value = const(node.inputs[1]), node.inputs[0]
    sizes = shape(value)
    if attribute(node, "axis", 0) % 3 != 1 or index is None or index.ndim != 1:
        return None
    if value is None or sizes is None or sizes[1] is None:
        return None
    kept = np.arange(sizes[1])[index][list(rows.numbers)]
    return chosen(value, Rows(tuple(int(row) for row in kept)), graph)[1] or None


LAYERS = ("Linear", "LinearGelu", "NormLinear", "NormLinearGelu", "Mlp")
#: Those that take tokens without their axis as well.
ALONE: dict[tuple[str, str], Step] = {
    **{(DOMAIN, name): row_wise(0) for name in LAYERS},
    (DOMAIN, "LinearAdd"): row_wise(0, 3),
    ("", "LayerNormalization"): last_axis,
}
STEPS: dict[tuple[str, str], Step] = {
    **ALONE,
    (DOMAIN, "Attention"): attention,
    (DOMAIN, "SelectedAttention"): selected_attention,
    (DOMAIN, "SelectTokens"): select_tokens,
    (DOMAIN, "SparseAttention"): sparse_attention,
    (DOMAIN, "SparseAttentionActive"): sparse_attention,
    **{("", name): elementwise for name in ("Add", "Sub", "Mul", "Div", "Gelu", "Relu", "Sigmoid")},
    **{("", name): elementwise for name in ("Tanh", "Erf", "Sqrt", "Clip", "Identity", "Cast")},
    ("", "Softmax"): last_axis,
    ("", "Concat"): concat,
    ("", "Gather"): gather,
}
