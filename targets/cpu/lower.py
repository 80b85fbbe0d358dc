"""Semantic operators to channels-last operators with packed weights, for the CPU.

NCHW -> FusedConv -> FeedForward -> PoolLinear      becomes
NCHW -> StemConvNhwc -> FeedForwardNhwc -> PoolLinearNhwc
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops import (
    conv_nhwc,
    conv_stride2_nhwc,
    conv_tiles_nhwc,
    depthwise_nhwc,
    feed_forward_nhwc,
    inverted_bottleneck_nhwc,
    linear,
    linear_packed,
    mlp_packed,
    pool_linear_nhwc,
    single_head_attention_nhwc,
)
from attnc.compiler.ops.base import DOMAIN, Array
from attnc.compiler.ops.lowered import Lowering
from attnc.compiler.ops.registry import make_node
from attnc.compiler.ops.window_attention import VARIANTS as WINDOW_ATTENTIONS
from attnc.compiler.provenance import copy_metadata
from attnc.targets.cpu.layout import Layout, to_first, transpose
from attnc.targets.cpu.moves import follow

#: A network's input has few channels; wider maps are worth a Transpose of their own.
STEM_CHANNELS = 4
#: Lowered operators per semantic one, in the order of preference.
LOWERINGS: dict[str, tuple[tuple[str, Lowering], ...]] = {
    "FusedConv": (
        ("StemConvNhwc", conv_nhwc.STEM_LOWERING),
        ("ConvStride2Nhwc", conv_stride2_nhwc.LOWERING),
        ("ConvTiles3Nhwc", conv_tiles_nhwc.LOWERING3),
        ("ConvTiles4Nhwc", conv_tiles_nhwc.LOWERING4),
        ("ConvNhwc", conv_nhwc.CONV_LOWERING),
        ("DepthwiseNhwc", depthwise_nhwc.LOWERING),
    ),
    "FusedConvAdd": (("ConvAddNhwc", conv_nhwc.CONV_ADD_LOWERING),),
    "FusedConvGelu": (
        ("DepthwiseGeluNhwc", depthwise_nhwc.GELU_LOWERING),
        ("StemConvGeluNhwc", conv_nhwc.STEM_GELU_LOWERING),
        ("ConvGeluNhwc", conv_nhwc.CONV_GELU_LOWERING),
    ),
    "FeedForward": (("FeedForwardNhwc", feed_forward_nhwc.LOWERING),),
    "SingleHeadAttention": (("SingleHeadAttentionNhwc", single_head_attention_nhwc.LOWERING),),
    "InvertedBottleneck": (("InvertedBottleneckNhwc", inverted_bottleneck_nhwc.LOWERING),),
    "PoolLinear": (("PoolLinearNhwc", pool_linear_nhwc.LOWERING),),
    "Mlp": (("MlpPacked", mlp_packed.LOWERING),),
    **{
        layer.name: ((f"{layer.name}Packed", linear_packed.lowering(layer)),)
        for layer in linear.VARIANTS
    },
}


#: Operators without weights to pack: the kernels take them as the passes wrote them.
DIRECT = frozenset(
    {
        "Attention",
        "GridPool",
        "SelectTokens",
        "SelectedAttention",
        "SlotCluster",
        "SlotDispatch",
        "SlotDispatchAdd",
        "SparseAttention",
        "SparseAttentionActive",
        *(operator.name for operator in WINDOW_ATTENTIONS.values()),
    }
)
LOWERED_NAMES = frozenset(name for choices in LOWERINGS.values() for name, _ in choices) | DIRECT


@dataclass(frozen=True)
class Refusal:
    """A semantic operator that stays as it is, and why; it then runs on its function body."""

    node: ir.Node
    reason: str


def lower(model: ir.Model) -> list[Refusal]:
    """Lower the graph in place; returns what could not be lowered."""
    layout, refusals = Layout(), []
    for node in list(model.graph):
        if node.domain == DOMAIN and node.op_type not in LOWERED_NAMES:
            reason = _lower_node(node, layout)
            if reason:
                refusals.append(Refusal(node, reason))
        else:
            follow(node, layout)
    _close(model.graph, layout)
    return refusals


def _lower_node(node: ir.Node, layout: Layout) -> str:
    """Lower one node; returns the reason if that is not possible."""
    arrays = [_constant(value) for value in node.inputs]
    choices = LOWERINGS.get(node.op_type)
    if choices is None:
        return f"no channels-last kernel for {node.op_type}"
    for name, lowering in choices:
        maps = (0, *range(len(arrays) - lowering.maps[1], len(arrays)))
        weights = [array for index, array in enumerate(arrays) if index not in maps]
        if any(array is None for array in weights):
            return "a weight is not a constant"
        if _fits(node, lowering, weights, layout):
            _replace(node, name, lowering, weights, layout)
            return ""
    return f"{node.op_type} has groups that are neither one nor one per channel"


def _fits(
    node: ir.Node, lowering: Lowering, weights: Sequence[Array | None], layout: Layout
) -> bool:
    x = node.inputs[0]
    assert x is not None
    if node.op_type not in ("FusedConv", "FusedConvAdd", "FusedConvGelu"):
        return True
    weight = weights[0]
    assert weight is not None
    attributes = attributes_of(node)
    channels = weight.shape[1] * attributes["group"]
    if lowering.nchw_input and (layout.known(x) or channels > STEM_CHANNELS):
        return False
    return lowering.accepts([_map_shape(x, channels), weight.shape], attributes)


def _map_shape(x: ir.Value, channels: int) -> tuple[int, ...]:
    """[B,C,H,W] of a map, one image for a symbolic batch, 0 for any other unknown size."""
    sizes = [] if x.shape is None else list(x.shape)
    if len(sizes) != 4:
        return 0, channels, 0, 0
    known = [size if isinstance(size, int) else 0 for size in sizes]
    return known[0] or 1, channels, known[2], known[3]


def _replace(
    node: ir.Node, name: str, lowering: Lowering, weights: Sequence[Array | None], layout: Layout
) -> None:
    given = tuple(array for array in weights if array is not None)
    packed, attributes = lowering.pack(given, attributes_of(node))
    x, *others = node.inputs
    trailing = others[len(others) - lowering.maps[1] :]
    assert x is not None
    residuals = [value for value in trailing if value is not None]
    if not lowering.layout_free:
        residuals = [layout.channels_last(value, node) for value in residuals]
    first = x if lowering.nchw_input or lowering.layout_free else layout.channels_last(x, node)
    constants = _register(node, others, packed)
    lowered = make_node(name, [first, *constants, *residuals], attributes, name=node.name)
    copy_metadata([node], [lowered])
    _take_place(node, lowered, layout, same_layout=lowering.layout_free)


def _take_place(node: ir.Node, lowered: ir.Node, layout: Layout, *, same_layout: bool) -> None:
    graph, old, new = node.graph, node.outputs[0], lowered.outputs[0]
    assert graph is not None
    graph.insert_before(node, lowered)
    layout.replaced.add(node)
    if same_layout or (old.shape is not None and len(old.shape) == 2):
        new.name, new.shape, new.type = old.name, old.shape, old.type
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    else:
        new.name = f"{old.name}.nhwc"
        layout.record(old, new)


def _register(
    node: ir.Node, originals: Sequence[ir.Value | None], packed: Sequence[Array]
) -> list[ir.Value]:
    """Packed weights as initializers, named after the operator's output and the input's place."""
    graph, made = node.graph, []
    assert graph is not None
    for index, array in enumerate(packed):
        made.append(add_constant(graph, f"{node.outputs[0].name}.packed{index}", array))
    return made


def add_constant(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """A new initializer of the graph."""
    tensor = ir.tensor(np.ascontiguousarray(array), name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    value.const_value = tensor
    graph.register_initializer(value)
    return value


def _close(graph: ir.Graph, layout: Layout) -> None:
    """Give every reader that stays channels-first its map back, converted once per value."""
    for nchw, nhwc in layout.pairs():
        if nchw.producer() not in layout.replaced:
            continue
        readers = [use.node for use in nchw.uses() if use.node not in layout.replaced]
        if readers or nchw.is_graph_output():
            _convert_back(graph, nchw, nhwc)
    remove_dead(graph)


def _convert_back(graph: ir.Graph, nchw: ir.Value, nhwc: ir.Value) -> None:
    maker = nhwc.producer()
    assert maker is not None
    rank = 4 if nchw.shape is None else len(nchw.shape)
    node = transpose(nhwc, to_first(rank), f"{nchw.name}.nchw")
    node.outputs[0].shape, node.outputs[0].type = nchw.shape, nchw.type
    graph.insert_after(maker, node)
    was_output, name = nchw.is_graph_output(), nchw.name
    ir.convenience.replace_all_uses_with(nchw, node.outputs[0], replace_graph_outputs=was_output)
    if was_output:
        nchw.name = f"{name}.unused"
        node.outputs[0].name = name


def remove_dead(graph: ir.Graph) -> None:
    """Drop nodes and initializers that nothing reads any more."""
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def attributes_of(node: ir.Node) -> dict[str, object]:
    """The node's attributes as plain Python values."""
    return {name: attribute.value for name, attribute in node.attributes.items()}


def _constant(value: ir.Value | None) -> Array | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()
