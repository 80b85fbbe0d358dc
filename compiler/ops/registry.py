"""All operators, in one list; everything that needs an operator finds it here by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from attnc.compiler.errors import UsageError
from attnc.compiler.ops.attention import ATTENTION
from attnc.compiler.ops.base import DOMAIN, DOMAIN_VERSION, Operator
from attnc.compiler.ops.conv_nhwc import (
    CONV_ADD_NHWC,
    CONV_GELU_NHWC,
    CONV_NHWC,
    STEM_CONV_GELU_NHWC,
    STEM_CONV_NHWC,
)
from attnc.compiler.ops.conv_stride2_nhwc import CONV_STRIDE2_NHWC
from attnc.compiler.ops.conv_tiles_nhwc import CONV_TILES3_NHWC, CONV_TILES4_NHWC
from attnc.compiler.ops.depthwise_nhwc import DEPTHWISE_GELU_NHWC, DEPTHWISE_NHWC
from attnc.compiler.ops.feed_forward import FEED_FORWARD
from attnc.compiler.ops.feed_forward_nhwc import FEED_FORWARD_NHWC
from attnc.compiler.ops.fused_conv import FUSED_CONV, FUSED_CONV_ADD, FUSED_CONV_GELU
from attnc.compiler.ops.grid_pool import GRID_POOL
from attnc.compiler.ops.inverted_bottleneck import INVERTED_BOTTLENECK
from attnc.compiler.ops.inverted_bottleneck_nhwc import INVERTED_BOTTLENECK_NHWC
from attnc.compiler.ops.linear import (
    LINEAR,
    LINEAR_ADD,
    LINEAR_GELU,
    NORM_LINEAR,
    NORM_LINEAR_GELU,
)
from attnc.compiler.ops.linear_low import LOW as LINEAR_LOW
from attnc.compiler.ops.linear_packed import (
    LINEAR_ADD_PACKED,
    LINEAR_GELU_PACKED,
    LINEAR_PACKED,
    NORM_LINEAR_GELU_PACKED,
    NORM_LINEAR_PACKED,
)
from attnc.compiler.ops.map_attention import MAP_ATTENTION
from attnc.compiler.ops.map_layout import MAP_TO_NCHW, MAP_TO_NHWC
from attnc.compiler.ops.map_slot_dispatch import MAP_SLOT_DISPATCH_ADD
from attnc.compiler.ops.mlp import MLP
from attnc.compiler.ops.mlp_packed import MLP_PACKED
from attnc.compiler.ops.pool_linear import POOL_LINEAR
from attnc.compiler.ops.pool_linear_nhwc import POOL_LINEAR_NHWC
from attnc.compiler.ops.pooled_slot_cluster import POOLED_SLOT_CLUSTER
from attnc.compiler.ops.select_tokens import SELECT_TOKENS
from attnc.compiler.ops.selected_attention import SELECTED_ATTENTION
from attnc.compiler.ops.single_head_attention import SINGLE_HEAD_ATTENTION
from attnc.compiler.ops.single_head_attention_nhwc import SINGLE_HEAD_ATTENTION_NHWC
from attnc.compiler.ops.slot_cluster import SLOT_CLUSTER
from attnc.compiler.ops.slot_dispatch import SLOT_DISPATCH, SLOT_DISPATCH_ADD
from attnc.compiler.ops.sparse_attention import SPARSE_ATTENTION, SPARSE_ATTENTION_ACTIVE
from attnc.compiler.ops.sparse_summary import (
    SPARSE_ROWS,
    SPARSE_ROWS_ACTIVE,
    SPARSE_SUMMARY,
    SPARSE_SUMMARY_ACTIVE,
)
from attnc.compiler.ops.squeeze_excite import SQUEEZE_EXCITE
from attnc.compiler.ops.window_attention import VARIANTS as WINDOW_ATTENTIONS

#: What passes produce: plain weights, the model's own maths, the same for all targets.
SEMANTIC: tuple[Operator, ...] = (
    FUSED_CONV,
    FUSED_CONV_ADD,
    FUSED_CONV_GELU,
    FEED_FORWARD,
    LINEAR,
    LINEAR_ADD,
    LINEAR_GELU,
    NORM_LINEAR,
    NORM_LINEAR_GELU,
    MLP,
    SINGLE_HEAD_ATTENTION,
    SQUEEZE_EXCITE,
    INVERTED_BOTTLENECK,
    POOL_LINEAR,
    ATTENTION,
    SELECTED_ATTENTION,
    SELECT_TOKENS,
    GRID_POOL,
    SLOT_CLUSTER,
    SLOT_DISPATCH,
    SLOT_DISPATCH_ADD,
    *WINDOW_ATTENTIONS.values(),
    SPARSE_ATTENTION,
    SPARSE_ATTENTION_ACTIVE,
)

#: What the CPU target lowers them to: channels-last maps, packed weights.
LOWERED: tuple[Operator, ...] = (
    MAP_TO_NHWC,
    MAP_TO_NCHW,
    STEM_CONV_NHWC,
    STEM_CONV_GELU_NHWC,
    CONV_NHWC,
    CONV_GELU_NHWC,
    CONV_ADD_NHWC,
    CONV_STRIDE2_NHWC,
    CONV_TILES3_NHWC,
    CONV_TILES4_NHWC,
    DEPTHWISE_NHWC,
    DEPTHWISE_GELU_NHWC,
    FEED_FORWARD_NHWC,
    LINEAR_PACKED,
    LINEAR_ADD_PACKED,
    LINEAR_GELU_PACKED,
    NORM_LINEAR_PACKED,
    NORM_LINEAR_GELU_PACKED,
    MLP_PACKED,
    SINGLE_HEAD_ATTENTION_NHWC,
    INVERTED_BOTTLENECK_NHWC,
    POOL_LINEAR_NHWC,
)

#: What it lowers linear layers to in fewer bits.
LOW: tuple[Operator, ...] = LINEAR_LOW

#: What the TensorRT target cuts them down to: the parts that its own kernels cannot match.
TENSORRT: tuple[Operator, ...] = (
    MAP_ATTENTION,
    MAP_SLOT_DISPATCH_ADD,
    POOLED_SLOT_CLUSTER,
    SPARSE_SUMMARY,
    SPARSE_ROWS,
    SPARSE_SUMMARY_ACTIVE,
    SPARSE_ROWS_ACTIVE,
)

OPERATORS: tuple[Operator, ...] = SEMANTIC + LOWERED + LOW + TENSORRT
_BY_NAME = {operator.name: operator for operator in OPERATORS}


def get(name: str) -> Operator:
    """The operator of this name; UsageError if there is none."""
    if name not in _BY_NAME:
        known = ", ".join(_BY_NAME)
        raise UsageError(f"unknown operator {name!r}", remedy=f"one of: {known}")
    return _BY_NAME[name]


def make_node(
    op_type: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any], **options: Any
) -> ir.Node:
    """A node of the domain `attnc`; all attributes of the operator must be given.

    `options` go to `onnx_ir.node` (name, outputs, metadata_props, ...).
    """
    operator = get(op_type)
    if set(attributes) != set(operator.attributes):
        raise ValueError(f"{op_type} takes {sorted(operator.attributes)}, not {sorted(attributes)}")
    values = {key: _typed(operator.attributes[key], attributes[key]) for key in operator.attributes}
    if "outputs" not in options:
        options["num_outputs"] = len(operator.outputs)
    return ir.node(op_type, inputs, values, domain=DOMAIN, version=DOMAIN_VERSION, **options)


def _typed(kind: str, value: Any) -> Any:
    if kind == "ints":
        return [int(v) for v in value]
    return int(value) if kind == "int" else float(value)


def attach_functions(model: ir.Model) -> list[str]:
    """Give the model the bodies of all `attnc` operators that it uses; returns their names."""
    used = {node.op_type for node in model.graph.all_nodes() if node.domain == DOMAIN}
    for name in sorted(used):
        function = get(name).function()
        model.functions[function.identifier()] = function
    if used:
        model.graph.opset_imports[DOMAIN] = DOMAIN_VERSION
    return sorted(used)
