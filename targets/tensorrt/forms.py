"""Semantic operators in the form that TensorRT takes best: plugins with the layers around them.

x -> SingleHeadAttention  =>  x[:, :v] -> LayerNormalization -> Conv -> Transpose
                              -> MapAttention(., Transpose(x)) -> Transpose -> Conv -> Add(x)
qkv -> SparseAttention    =>  qkv -> SparseSummary -> SparseRows(qkv, .)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.provenance import copy_metadata
from attnc.passes.graph import (
    Array,
    Refuse,
    attribute,
    const,
    constant,
    is_fused,
    is_op,
    new_node,
    replace,
    shape,
    sole_user,
)
from attnc.targets.tensorrt.attention import attention
from attnc.targets.tensorrt.sizes import given, sizes_of

#: Attributes with which TensorRT's parser takes a plugin of ours before the function body.
PLUGIN_MARK = {"plugin_namespace": "attnc", "plugin_version": "1"}


@dataclass(frozen=True)
class Form:
    """How one semantic operator is rewritten; `plugins` are the operators that it may become."""

    rewrite: Callable[[ir.Node, ir.Graph], None]
    plugins: tuple[str, ...] = ()

    @property
    def plugin(self) -> bool:
        """Whether the result holds a plugin."""
        return bool(self.plugins)


class Skip(Exception):
    """The body is the best form here; nothing to report."""


def single_head_attention(node: ir.Node, graph: ir.Graph) -> None:
    """The group norm becomes a layer norm, its scale and shift go into the convolution."""
    x = given(node, 0)
    gamma, beta, wqkv, bqkv = (_constant(node, index) for index in range(1, 5))
    heads = {name: attribute(node, name) for name in ("dim_qk", "dim_v", "scale", "min", "max")}
    batch, _, *plane = _map_sizes(node)
    width = heads["dim_v"]
    first = _first_channels(graph, x, width, [batch, width, *plane])
    norm = _norm_of_all(node, graph, first.outputs[0], [batch, width, *plane])
    shift = bqkv + wqkv[:, :, 0, 0].astype(np.float64) @ beta
    qkv = new_node(
        "Conv",
        [
            norm[-1].outputs[0],
            constant(graph, wqkv * gamma[None, :, None, None], f"{node.name}_wqkv"),
            constant(graph, shift.astype(np.float32), f"{node.name}_bqkv"),
        ],
        like=x,
        sizes=[batch, len(shift), *plane],
    )
    turned = [_to_pixels(qkv.outputs[0]), _to_pixels(x)]
    attend = new_node(
        "MapAttention",
        [item.outputs[0] for item in turned],
        {**heads, **PLUGIN_MARK},
        domain=DOMAIN,
        like=turned[1].outputs[0],
    )
    back = _to_map(attend.outputs[0])
    project = new_node("Conv", [back.outputs[0], *node.inputs[5:7]], like=x)
    add = new_node("Add", [x, project.outputs[0]], like=x)
    replace(graph, node, [node], [first, *norm, qkv, *turned, attend, back, project, add])


def _norm_of_all(node: ir.Node, graph: ir.Graph, x: ir.Value, sizes: list[Any]) -> list[ir.Node]:
    """x over all but the batch, as one row: TensorRT makes one kernel of that, two of a map."""
    count = int(np.prod(sizes[1:]))
    row = constant(graph, np.array([0, count]), f"{node.name}_row")
    flat = new_node("Reshape", [x, row], like=x, sizes=[sizes[0], count])
    ones = constant(graph, np.ones(count, np.float32), f"{node.name}_ones")
    how = {"axis": -1, "epsilon": attribute(node, "epsilon")}
    norm = new_node("LayerNormalization", [flat.outputs[0], ones], how, like=flat.outputs[0])
    target = constant(graph, np.array([0, *sizes[1:]]), f"{node.name}_map")
    return [flat, norm, new_node("Reshape", [norm.outputs[0], target], like=x)]


def sparse_attention(node: ir.Node, graph: ir.Graph) -> None:
    """Two plugins: what all rows of a head share, then the rows."""
    qkv, (wq, bq, wk, bk, proj_n, basis, *active) = given(node, 0), node.inputs[1:]
    how = {name: found.value for name, found in node.attributes.items()}
    low_width, rank = _constant(node, 3).shape[0], _constant(node, 5).shape[1]
    batch, tokens, _ = sizes_of(node, 0, 3)
    suffix = "Active" if active else ""
    summary = new_node(
        f"SparseSummary{suffix}",
        [qkv, wk, bk, proj_n, *active],
        {"heads": how["heads"], "dim": how["dim"], **PLUGIN_MARK},
        domain=DOMAIN,
        like=qkv,
        sizes=[batch, how["heads"], low_width, rank],
    )
    rows = new_node(
        f"SparseRows{suffix}",
        [qkv, summary.outputs[0], wq, bq, basis, *active],
        {**how, **PLUGIN_MARK},
        domain=DOMAIN,
        like=qkv,
        sizes=[batch, tokens, how["heads"] * how["dim"]],
    )
    replace(graph, node, [node], [summary, rows])


def slot_cluster(node: ir.Node, graph: ir.Graph) -> None:
    """Slots that are averages of a map are averaged by the plugin itself."""
    slots = node.inputs[1]
    pool = None if slots is None else slots.producer()
    if slots is None or not is_fused(pool, "GridPool") or len(slots.uses()) > 1:
        as_it_stands(node, graph)
        return
    assert pool is not None
    made = ir.node(
        "PooledSlotCluster",
        [node.inputs[0], pool.inputs[0]],
        {"grid": attribute(pool, "grid"), "scale": attribute(node, "scale"), **PLUGIN_MARK},
        domain=DOMAIN,
        num_outputs=2,
        name=node.name,
    )
    for new, old in zip(made.outputs, node.outputs, strict=True):
        new.name, old.name = old.name, f"{old.name}_replaced"
        new.shape, new.type = old.shape, old.type
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    copy_metadata([pool, node], [made])
    graph.insert_before(node, [made])
    graph.remove([node, pool], safe=True)


def slot_dispatch(node: ir.Node, graph: ir.Graph) -> None:
    """Between maps the plugin reads and writes pixels [B,H,W,C], without a Reshape."""
    logits, slots, residual = (given(node, place) for place in range(3))
    reshape, pixels = sole_user(node.outputs[0]), _pixels_of(residual)
    after = None if reshape is None or not is_op(reshape, "Reshape") else reshape.outputs[0]
    if pixels is None or after is None or reshape is None or not _alike(pixels, after):
        as_it_stands(node, graph)
        return
    inputs = [logits, slots, pixels]
    made = new_node("MapSlotDispatchAdd", inputs, PLUGIN_MARK, domain=DOMAIN, like=after)
    replace(graph, reshape, [node], [made])


def _alike(one: ir.Value, other: ir.Value) -> bool:
    """Whether two maps have the same sizes but for the batch."""
    mine, theirs = shape(one), shape(other)
    return mine is not None and theirs is not None and mine[1:] == theirs[1:]


def layer_before_map(node: ir.Node, graph: ir.Graph) -> None:
    """A layer on pixels [B,H,W,C] that are turned to a map behind it is a convolution."""
    x, w, b = node.inputs
    turn, weight, sizes = sole_user(node.outputs[0]), const(w), shape(x)
    if not is_op(turn, "Transpose") or turn is None or attribute(turn, "perm") != [0, 3, 1, 2]:
        raise Skip
    if weight is None or sizes is None or len(sizes) != 4 or x is None:
        raise Skip
    before = _to_map(x)
    like = turn.outputs[0]
    kernel = constant(graph, weight[:, :, None, None], f"{node.name}_kernel")
    conv = new_node("Conv", [before.outputs[0], kernel, b], like=like)
    bounds = [
        constant(graph, np.array(attribute(node, name), np.float32), name)
        for name in ("min", "max")
    ]
    clip = new_node("Clip", [conv.outputs[0], *bounds], like=like)
    replace(graph, turn, [node], [before, conv, clip])


def _to_pixels(planes: ir.Value) -> ir.Node:
    assert planes.shape is not None
    batch, channels, height, width = planes.shape
    sizes = [batch, height, width, channels]
    return new_node("Transpose", [planes], {"perm": [0, 2, 3, 1]}, like=planes, sizes=sizes)


def _to_map(pixels: ir.Value) -> ir.Node:
    assert pixels.shape is not None
    batch, height, width, channels = pixels.shape
    sizes = [batch, channels, height, width]
    return new_node("Transpose", [pixels], {"perm": [0, 3, 1, 2]}, like=pixels, sizes=sizes)


def _pixels_of(tokens: ir.Value) -> ir.Value | None:
    """The map [B,H,W,C] that was flattened to these tokens."""
    reshape = tokens.producer()
    if reshape is None or not is_op(reshape, "Reshape"):
        return None
    pixels = reshape.inputs[0]
    sizes, flat = shape(pixels), shape(tokens)
    if sizes is None or flat is None or len(sizes) != 4 or len(flat) != 3:
        return None
    _, height, width, channels = sizes
    if height is None or width is None:
        return None
    return pixels if flat[1:] == [height * width, channels] else None


def as_it_stands(node: ir.Node, graph: ir.Graph) -> None:
    """The operator is a plugin of its own."""
    for name, value in PLUGIN_MARK.items():
        node.attributes.add(ir.Attr(name, ir.AttributeType.STRING, value))


FORMS: dict[str, Form] = {
    "Attention": Form(attention),
    "Linear": Form(layer_before_map),
    "SlotCluster": Form(slot_cluster, ("SlotCluster", "PooledSlotCluster")),
    "SlotDispatchAdd": Form(slot_dispatch, ("SlotDispatchAdd", "MapSlotDispatchAdd")),
    "SingleHeadAttention": Form(single_head_attention, ("MapAttention",)),
    "SparseAttention": Form(sparse_attention, ("SparseSummary", "SparseRows")),
    "SparseAttentionActive": Form(sparse_attention, ("SparseSummaryActive", "SparseRowsActive")),
    **{
        name: Form(as_it_stands, (name,))
        for name in (
            "SelectTokens",
            "SlotDispatch",
            "WindowAttention",
            "WindowAttentionBare",
            "WindowAttentionPooled",
            "WindowAttentionPooledBare",
        )
    },
}


def semantic_of(plugin: str) -> str:
    """The semantic operator that became this plugin."""
    return next(name for name, form in FORMS.items() if plugin in form.plugins)


def _constant(node: ir.Node, index: int) -> Array:
    array = const(node.inputs[index])
    if array is None:
        raise Refuse(f"input {index} is not a constant", node)
    return array


def _map_sizes(node: ir.Node) -> list[int | ir.SymbolicDim]:
    sizes = sizes_of(node, 0, 4)
    if not all(isinstance(size, int) for size in sizes[1:]):
        raise Refuse("the size of the map is not known", node)
    return sizes


def _first_channels(graph: ir.Graph, x: ir.Value, count: int, sizes: list[object]) -> ir.Node:
    numbers = [constant(graph, np.array([i], np.int64), "first") for i in (0, count, 1)]
    return new_node("Slice", [x, *numbers], like=x, sizes=sizes)
