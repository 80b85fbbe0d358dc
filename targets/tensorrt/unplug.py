"""Plugins that the precision pass left in float32 become standard operators.

A bundle's kernels are compiled for its own precision, so a plugin that must stay in float32 (a
value beyond float16, say) has no kernel there: its body, which is float32, takes its place.
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.inline import inline_body
from attnc.compiler.pipeline import NearMiss, run_pipeline
from attnc.passes.pipelines import clean
from attnc.targets.tensorrt.lower import name_apart


def unplug(model: ir.Model) -> list[NearMiss]:
    """Inline the float32 plugins of a half-precision graph; one entry for each of them."""
    kept = [node for node in model.graph if node.domain == DOMAIN and _is_float32(node)]
    reasons = [
        NearMiss.at(node, f"{node.op_type} stays in float32: its body stands, not its plugin")
        for node in kept
    ]
    for node in kept:
        inline_body(node)
    if kept:
        run_pipeline(model, clean())
        name_apart(model.graph)
    return reasons


def _is_float32(node: ir.Node) -> bool:
    values = [*node.inputs, *node.outputs]
    return any(value is not None and value.dtype == ir.DataType.FLOAT for value in values)
