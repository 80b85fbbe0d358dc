"""Semantic operators to what TensorRT takes best: its own fusions first, plugins where they pay.

What has a form becomes it; every other fused operator becomes its body, whose layers TensorRT
fuses by itself. The graph is float32 afterwards; precision comes later.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.inline import inline_body
from attnc.compiler.pipeline import run_pipeline
from attnc.passes.graph import Refuse, is_fused
from attnc.passes.pipelines import clean
from attnc.targets.tensorrt.attention import attention_operator
from attnc.targets.tensorrt.forms import FORMS, PLUGIN_MARK, Skip
from attnc.targets.tensorrt.selection import selected_attention
from attnc.targets.tensorrt.sizes import sizes_of
from attnc.targets.tensorrt.tidy import GELU_OPSET, plain_clips, spell_gelu
from attnc.targets.tensorrt.versions import settle_version

ATTENTION_OPSET = 23


@dataclass(frozen=True)
class Options:
    """`opset` of the lowered graph; `attention_operator`: it has fused kernels for that operator
    in the precision of this export; `bodies`: operators that are no plugins, as they do not pay;
    `highest`: the opset up to which it reads, for graphs that cannot go down to `opset`."""

    opset: int
    attention_operator: bool
    bodies: frozenset[str] = frozenset()
    highest: int = 0


@dataclass(frozen=True)
class Refusal:
    """An operator without its form, and why; its body stands in the graph instead."""

    node: ir.Node
    reason: str


def lower(model: ir.Model, options: Options) -> list[Refusal]:
    """Lower the graph in place; returns what did not get the form that it has."""
    graph, refusals = model.graph, _select_first(model.graph)
    shapes = [value.shape for value in graph.outputs]
    for node in [node for node in graph if node.domain == DOMAIN]:
        reason = _give_form(node, graph, options)
        if reason:
            refusals.append(Refusal(node, reason))
    for node in [node for node in graph if node.domain == DOMAIN and not is_plugin(node)]:
        inline_body(node)  # afterwards: a form may take up operators around it
    model.functions.clear()
    plain_clips(graph)
    if options.opset < GELU_OPSET:
        spell_gelu(graph)
    run_pipeline(model, clean())
    for value, known in zip(graph.outputs, shapes, strict=True):
        value.shape = known if value.shape is None else value.shape  # inference forgets some
    settle_version(graph, options.opset, options.highest)
    name_apart(graph)
    return refusals


def _select_first(graph: ir.Graph) -> list[Refusal]:
    """Attention of selected rows becomes an Attention, before those get their forms."""
    refusals = []
    for node in list(graph):
        if is_fused(node, "SelectedAttention"):
            try:
                selected_attention(node, graph)
            except Refuse as refused:
                refusals.append(Refusal(node, refused.reason))
    return refusals


def plugin_operators(model: ir.Model) -> list[str]:
    """The semantic operators of a graph that can become plugins, each once."""
    names = {node.op_type for node in model.graph if node.domain == DOMAIN}
    return sorted(name for name in names if name in FORMS and FORMS[name].plugin)


def name_apart(graph: ir.Graph) -> None:
    """No two nodes of one name: TensorRT reports its kernels by the names of their nodes."""
    taken: set[str] = set()
    for node in graph:
        name, count = node.name or node.op_type, 0
        while name in taken:
            count += 1
            name = f"{node.name or node.op_type}~{count}"
        node.name = name
        taken.add(name)


def is_plugin(node: ir.Node) -> bool:
    """Whether the parser will look for a plugin of ours."""
    return PLUGIN_MARK.keys() <= node.attributes.keys()


def _give_form(node: ir.Node, graph: ir.Graph, options: Options) -> str:
    """Rewrite one node if it has a form; returns why it did not get it."""
    form = FORMS.get(node.op_type)
    if form is None or (form.plugin and node.op_type in options.bodies):
        return ""
    try:
        if node.op_type == "Attention" and options.attention_operator:
            return _attention(node, graph)
        form.rewrite(node, graph)
    except Skip:
        return ""
    except Refuse as refused:
        return refused.reason
    return ""


def _attention(node: ir.Node, graph: ir.Graph) -> str:
    """One query is no matrix: its products are fused without the operator."""
    if sizes_of(node, 0, 3)[1] == 1:
        FORMS["Attention"].rewrite(node, graph)
        return ""
    try:
        attention_operator(node, graph)
    except Refuse as refused:
        FORMS["Attention"].rewrite(node, graph)
        return refused.reason
    return ""
