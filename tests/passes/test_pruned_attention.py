"""The fusion of attention over predicted keys where inactive tokens are masked, not removed."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pruned_networks as nets
import pytest
import torch
from rewriting import compute, distance, random_feeds
from sparse_networks import TOKENS, WIDTH, export_of

from attnc.compiler.pipeline import PassResult, run_pipeline
from attnc.passes import pipelines
from attnc.passes.graph import attribute
from attnc.passes.sparse.sparse_attention import FuseSparseAttention
from attnc.runtimes.proof.float64 import compute64


def network(style: nets.Pruned) -> nets.PrunedNet:
    torch.manual_seed(0)
    return nets.PrunedNet(style).eval()


def rewritten(model: ir.Model) -> PassResult:
    run_pipeline(model, [*pipelines.clean(), *pipelines.canonical()])
    return FuseSparseAttention().run(model)


def assert_fused(style: nets.Pruned, opset: int | None) -> list[ir.Node]:
    source = network(style)
    model = export_of(source, opset)
    original = ir.serde.deserialize_model(copy.deepcopy(ir.serde.serialize_model(model)))
    result = rewritten(model)
    assert result.matches == 3, result.near_misses
    for batch in (2, 3):
        feeds = random_feeds(original, batch)
        assert distance(compute(model, feeds), compute(original, feeds)) <= 1e-5
        (x,) = feeds.values()
        with torch.no_grad():
            expected = copy.deepcopy(source).double()(torch.from_numpy(x).double()).numpy()
        assert distance(compute64(model, feeds), [expected]) <= 1e-6
    assert FuseSparseAttention().run(model).matches == 0
    nodes = [node for node in model.graph if node.op_type.startswith("SparseAttention")]
    assert [node.op_type for node in nodes] == ["SparseAttention", *["SparseAttentionActive"] * 2]
    return nodes


#: Written by torch.export, which takes seconds; TorchScript's exports have all styles by default.
TRACED = ("registry", "paper-rows", "counted")


@pytest.mark.parametrize("name", nets.STYLES)
def test_every_style_is_fused(name: str) -> None:
    assert_style(name, None)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in TRACED else pytest.mark.slow) for name in nets.STYLES],
)
def test_every_style_is_fused_in_other_exports(name: str) -> None:
    assert_style(name, 20)


def assert_style(name: str, opset: int | None) -> None:
    style = nets.STYLES[name]
    nodes = assert_fused(style, opset)
    for node in nodes[1:]:
        assert attribute(node, "prune_rows") == int(style.rows is not None)
    if style.score_threshold is None:
        counts = (TOKENS - 1, *style.leaving) if style.budget == "counted" else [nets.KEEP] * 3
        kept = [attribute(node, "keep") for node in nodes]
        assert kept == [min(nets.KEEP, count) for count in counts]


@pytest.mark.parametrize("opset", [18, 23])
def test_every_opset_is_understood(opset: int) -> None:
    assert_fused(nets.STYLES["paper-rows"], opset)


def test_nothing_of_all_keys_is_left() -> None:
    """The class token's row is computed apart; no other value has a place for each pair."""
    model = export_of(network(nets.STYLES["paper"]), 20)
    rewritten(model)
    pairs = [v for node in model.graph for v in node.outputs if list(v.shape)[-2:] == [TOKENS] * 2]
    assert pairs == []
    rows = [node for node in model.graph if node.op_type == "Softmax"]
    assert len(rows) == 2
    assert all(list(node.outputs[0].shape)[-2:] == [1, TOKENS] for node in rows)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"broken": "v"}, "inactive tokens are left out of q, but not of v"),
        ({"broken": "k"}, "but not of k, k of the predictor"),
        ({"broken": "low_q"}, "but not of its projection of q"),
        ({"broken": "scores"}, "but not of the scores"),
        ({"broken": "other"}, "the masks of inactive tokens differ"),
        ({"broken": "both"}, "how many tokens are active"),
        ({"leaving": (8, 3), "budget": "fixed"}, "5 keys are kept of 4 active tokens"),
    ],
)
def test_what_is_not_the_operator_is_refused_with_the_reason(
    changes: dict[str, object], reason: str
) -> None:
    style = replace(nets.STYLES["paper"], **changes)
    model = export_of(network(style), None)
    result = rewritten(model)
    assert result.matches < 3
    assert any(reason in miss.reason for miss in result.near_misses), result.near_misses
    assert all(miss.node for miss in result.near_misses)


def test_a_refusal_names_the_line_of_the_source() -> None:
    style = replace(nets.STYLES["paper"], broken="v")
    result = rewritten(export_of(network(style), 20))
    assert result.near_misses
    assert all(miss.node and miss.source for miss in result.near_misses)


@pytest.mark.parametrize("name", ["registry", "paper-rows"])
def test_the_last_row_needs_only_the_class_token(name: str) -> None:
    """The head reads one token: its attention has one query, and zeros for inactive keys."""
    model = export_of(network(nets.STYLES[name]), 20)
    original = ir.serde.deserialize_model(copy.deepcopy(ir.serde.serialize_model(model)))
    run_pipeline(model, pipelines.default())
    fused = [node.op_type for node in model.graph if "Attention" in node.op_type]
    assert fused == ["SparseAttention", "SparseAttentionActive", "Attention"]
    query, memory = next(n for n in model.graph if n.op_type == "Attention").inputs
    assert list(query.shape)[1:] == [1, WIDTH]
    assert list(memory.shape)[1:] == [TOKENS, 2 * WIDTH]
    for batch in (1, 3):
        feeds = random_feeds(original, batch)
        ours, theirs = compute(model, feeds), compute(original, feeds)
        assert distance(ours, theirs) <= 1e-5
        assert np.isfinite(ours[0]).all()


def test_without_the_fusion_the_other_passes_keep_the_network() -> None:
    """The class token's row comes from a softmax of one row of the product, not of all."""
    model = export_of(network(nets.STYLES["registry"]), 20)
    original = ir.serde.deserialize_model(copy.deepcopy(ir.serde.serialize_model(model)))
    run_pipeline(model, [p for p in pipelines.default() if p.name != FuseSparseAttention.name])
    feeds = random_feeds(original, 2)
    assert distance(compute(model, feeds), compute(original, feeds)) <= 1e-5
