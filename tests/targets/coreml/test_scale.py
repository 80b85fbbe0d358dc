"""Scales of attention scores in the layers before: when they fold, and that nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("coremltools")

from coreml_graphs import Graph, check, copy_of
from rewriting import compute, distance, only, random_feeds

from attnc.compiler.ops.attention import packed
from attnc.compiler.ops.base import NO_MAX
from attnc.compiler.ops.registry import get
from attnc.passes.graph import attribute, const
from attnc.targets.coreml.scale import fold_scales

HEADS = packed(2, 4, 6)
WIDTH = 2 * (2 * 4 + 6)
SCORES = {key: HEADS[key] for key in ("heads", "dim_qk", "q_at", "k_at", "scale")}
WINDOW = {"kernel_shape": [3, 3], "dilations": [1, 1], "shift": 1, "scale": 0.3}


def folded(model: ir.Model, count: int) -> ir.Model:
    """The model after folding `count` scales, which computes the same."""
    twin = copy_of(model)
    assert fold_scales(twin) == count
    feeds = random_feeds(model)
    assert distance(compute(twin, feeds), compute(model, feeds)) < 1e-5
    return twin


def plain_attention() -> tuple[Graph, ir.Value, ir.Value]:
    graph = Graph()
    qkv = graph.linear(graph.input(2, 9, 12), WIDTH)
    return graph, qkv, graph.fused("Attention", qkv, qkv, **HEADS)


def test_rows_of_the_queries_alone_are_scaled() -> None:
    graph, _, out = plain_attention()
    model = graph.model(out)
    before = [const(value) for value in only(model, "Linear").inputs[1:3]]
    after = folded(model, 1)
    assert attribute(only(after, "Attention"), "scale") == 1.0
    scale = attribute(only(model, "Attention"), "scale")
    for old, value in zip(before, only(after, "Linear").inputs[1:3], strict=True):
        new = const(value)
        assert old is not None
        assert new is not None
        np.testing.assert_allclose(new[:8], old[:8] * scale, rtol=1e-6)
        np.testing.assert_array_equal(new[8:], old[8:])


@pytest.mark.parametrize("ios", [16, 18])
def test_no_operation_is_left_for_the_scale(ios: int) -> None:
    graph, _, out = plain_attention()
    assert check(graph.model(out), ios)["mul"] == 0


@pytest.mark.parametrize("ios", [16, 18])
def test_a_scale_of_its_own_is_applied(ios: int) -> None:
    graph = Graph()
    qkv = graph.linear(graph.input(2, 9, 12), WIDTH)
    out = graph.fused("Attention", qkv, qkv, **{**HEADS, "scale": 0.11})
    assert check(graph.model(out), ios)["mul"] == (ios == 18)


def norm_layer(graph: Graph) -> ir.Value:
    weight, bias = graph.random(WIDTH, 12), graph.random(WIDTH)
    qkv = graph.fused("NormLinear", graph.input(2, 9, 12), weight, bias, epsilon=1e-5)
    return graph.fused("Attention", qkv, qkv, **HEADS)


def queries_apart(graph: Graph) -> ir.Value:
    q = graph.linear(graph.input(2, 5, 7), 8)
    memory = graph.linear(graph.input(2, 9, 12, name="m"), WIDTH)
    return graph.fused("Attention", q, memory, **HEADS)


def selection(graph: Graph) -> ir.Value:
    x = graph.input(2, 9, 12)
    qkv = graph.linear(x, WIDTH)
    how = {**SCORES, "keep": 3, "fuse": 0}
    rows, index, shares = graph.fused("SelectTokens", x, qkv, qkv, np.zeros(12), **how)
    attended = graph.fused("SelectedAttention", qkv, qkv, index, shares, **HEADS, fuse=0)
    return graph.op("Concat", rows, attended, axis=2)


def windows(graph: Graph) -> ir.Value:
    qkv = graph.fused_conv(graph.input(1, 6, 5, 4), 24)
    pixels = graph.shaped("Transpose", [1, 5, 4, 24], qkv, perm=[0, 2, 3, 1])
    return graph.fused("WindowAttentionBare", pixels, **WINDOW)


@pytest.mark.parametrize("make", [norm_layer, queries_apart, selection, windows])
def test_all_layers_and_attentions(make: Callable[[Graph], Any]) -> None:
    graph = Graph()
    model = graph.model(make(graph))
    after = folded(model, 1)
    scales = {attribute(node, "scale") for node in after.graph if "scale" in node.attributes}
    assert scales == {1.0}
    assert fold_scales(after) == 0


@pytest.mark.parametrize(("make", "count"), [(norm_layer, 0), (selection, 0), (windows, 1)])
def test_with_the_operator_windows_alone_are_folded(
    make: Callable[[Graph], Any], count: int
) -> None:
    graph = Graph()
    assert fold_scales(graph.model(make(graph)), operator=True) == count


@pytest.mark.parametrize("ios", [16, 18])
@pytest.mark.parametrize("make", [norm_layer, queries_apart, selection, windows])
def test_programs_compute_the_same(make: Callable[[Graph], Any], ios: int) -> None:
    graph = Graph()
    check(graph.model(make(graph)), ios)


def test_second_reader_of_the_layer() -> None:
    graph, qkv, out = plain_attention()
    folded(graph.model(out, graph.op("Relu", qkv)), 0)


def test_layer_that_is_an_output() -> None:
    graph, qkv, out = plain_attention()
    folded(graph.model(out, qkv), 0)


def test_clamped_layer() -> None:
    graph = Graph()
    qkv = graph.linear(graph.input(2, 9, 12), WIDTH, min=0.0, max=NO_MAX)
    folded(graph.model(graph.fused("Attention", qkv, qkv, **HEADS)), 0)


def test_computed_weights() -> None:
    graph = Graph()
    weight = graph.input(WIDTH, 12, name="w")
    free = {"min": -NO_MAX, "max": NO_MAX}
    qkv = graph.fused("Linear", graph.input(2, 9, 12), weight, graph.random(WIDTH), **free)
    folded(graph.model(graph.fused("Attention", qkv, qkv, **HEADS)), 0)


def test_two_attentions_of_different_scales() -> None:
    graph, qkv, out = plain_attention()
    other = graph.fused("Attention", qkv, qkv, **{**HEADS, "scale": 0.7})
    folded(graph.model(out, other), 0)


def test_two_attentions_of_one_scale() -> None:
    graph, qkv, out = plain_attention()
    folded(graph.model(out, graph.fused("Attention", qkv, qkv, **HEADS)), 1)


def test_keys_of_one_attention_are_queries_of_another() -> None:
    graph, qkv, out = plain_attention()
    other = graph.linear(graph.input(2, 5, 7, name="q"), 8)
    crossed = graph.fused("Attention", other, qkv, **HEADS)
    after = folded(graph.model(out, crossed), 1)  # the other queries' layer alone
    scales = [attribute(node, "scale") for node in after.graph if node.op_type == "Attention"]
    assert sorted(scales) == [0.5, 1.0]


def test_overlapping_queries_and_keys() -> None:
    graph = Graph()
    qk = graph.linear(graph.input(2, 9, 12), 8 + 12)
    shared = {**HEADS, "q_at": 0, "k_at": 0, "v_at": 8}
    folded(graph.model(graph.fused("Attention", qk, qk, **shared)), 0)


def test_sparse_attention_keeps_its_scale() -> None:
    example = get("SparseAttention").examples(np.random.default_rng(0))[3]
    graph = Graph()
    qkv = graph.linear(graph.input(1, 19, 12), 192)
    out = graph.fused("SparseAttention", qkv, *example.inputs[1:], **example.attributes)
    folded(graph.model(out), 0)
