"""The fusion of Sparsifiner's predictor and attention, on graphs of many authors and exporters."""

from __future__ import annotations

import copy

import numpy as np
import onnx_ir as ir
import pytest
import sparse_networks as nets
from rewriting import compute, distance, random_feeds

from attnc.compiler.pipeline import PassResult, run_pipeline
from attnc.compiler.provenance import torch_module
from attnc.passes import pipelines
from attnc.passes.sparse.sparse_attention import FuseSparseAttention


def rewritten(model: ir.Model) -> PassResult:
    run_pipeline(model, [*pipelines.clean(), *pipelines.canonical()])
    return FuseSparseAttention().run(model)


def fused_node(model: ir.Model) -> ir.Node:
    (node,) = [node for node in model.graph if node.op_type == "SparseAttention"]
    return node


def copied(model: ir.Model) -> ir.Model:
    return ir.serde.deserialize_model(copy.deepcopy(ir.serde.serialize_model(model)))


def assert_fused(model: ir.Model) -> ir.Node:
    original = copied(model)
    assert rewritten(model).matches == 1
    for batch in (2, 3):
        feeds = random_feeds(original, batch)
        assert distance(compute(model, feeds), compute(original, feeds)) <= 1e-5
    assert FuseSparseAttention().run(model).matches == 0
    assert not {node.op_type for node in model.graph} & {"TopK", "ScatterElements", "Softmax"}
    return fused_node(model)


@pytest.mark.parametrize("name", nets.STYLES)
def test_every_style_is_fused(name: str) -> None:
    style = nets.STYLES[name]
    node = assert_fused(nets.exported(style, 20))
    assert node.attributes["heads"].value == nets.HEADS
    assert node.attributes["keep"].value == (5 if style.score_threshold is None else nets.TOKENS)
    assert node.attributes["scale"].value == pytest.approx(nets.DIM**-0.5)
    assert node.attributes["coef_scale"].value == pytest.approx(nets.HEADS**-0.5)
    assert torch_module(node)


@pytest.mark.parametrize("opset", [18, 19, 21, 22, 23, None])
@pytest.mark.parametrize("name", ["paper", "two-softmaxes", "thresholds"])
def test_every_exporter_is_understood(name: str, opset: int | None) -> None:
    assert_fused(nets.exported(nets.STYLES[name], opset))


@pytest.mark.parametrize(
    ("style", "reason"),
    [
        (nets.Style(dense_output=True), "has a second consumer, Softmax"),
        (nets.Style(score_threshold=0.012, finite="none"), "would be NaN"),
        (nets.Style(largest=False), "the smallest scores are kept"),
        (nets.Style(rows="apart", mask="bool", pruned=True), "joined with another mask"),
    ],
)
def test_what_must_stay_is_refused_with_the_reason(style: nets.Style, reason: str) -> None:
    model = nets.exported(style, 20)
    result = rewritten(model)
    assert result.matches == 0
    assert any(reason in miss.reason for miss in result.near_misses), result.near_misses
    assert all(miss.node and miss.source for miss in result.near_misses)


def test_weights_that_swap_heads_are_refused() -> None:
    model = nets.exported(nets.Style(), 20)
    run_pipeline(model, pipelines.clean())
    for node in model.graph:
        if node.op_type == "Gather" and np.array_equal(node.inputs[1].const_value.numpy(), 2):
            node.inputs[1].const_value = ir.tensor(np.array(1), name=node.inputs[1].name)
    result = rewritten(model)
    assert result.matches == 0
    assert "not packed one after the other" in result.near_misses[0].reason
