"""Semantic operators in TensorRT's form: what they become, same numbers, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import MODULE, SOURCE, only
from tensorrt_graphs import (
    JETPACK6,
    OPERATOR,
    PLAIN,
    WEIGHTS,
    Graph,
    census,
    copied,
    lowered,
    of_example,
    plugins_of,
)

from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.compiler.ops.registry import OPERATORS, get
from attnc.passes.graph import attribute, const
from attnc.targets.tensorrt.forms import FORMS
from attnc.targets.tensorrt.lower import Options, lower, plugin_operators

FREE = {"min": NO_MIN, "max": NO_MAX}
#: Operators that the hard inputs are run through whole; a Linear has a form only before a map.
WHOLE = [name for name in (*FORMS, "SelectedAttention") if name != "Linear"]


@pytest.mark.parametrize("options", [PLAIN, OPERATOR, JETPACK6], ids=["plain", "operator", "jp6"])
@pytest.mark.parametrize("name", WHOLE)
def test_hard_inputs_of_every_form(name: str, options: Options) -> None:
    operator = get(name)
    examples = operator.examples(np.random.default_rng(3))
    for example in examples if options is PLAIN else examples[:3]:
        model, feeds = of_example(name, example)
        reasons = [refusal.reason for refusal in lowered(model, options, feeds=feeds)]
        assert options.attention_operator or not reasons, (example.label, reasons)
        assert bool(plugins_of(model)) == (name in FORMS and FORMS[name].plugin), example.label


def test_every_form_is_of_a_semantic_operator() -> None:
    assert set(FORMS) <= {operator.name for operator in OPERATORS}


# --- SHViT ---------------------------------------------------------------------------------------


def single_head(channels: int = 11, part: int = 5, qk: int = 4, **change: Any) -> tuple[Graph, Any]:
    """(graph, operands)"""
    g = Graph()
    x = g.like(g.op("Tanh", g.input("n", channels, 4, 6)), "n", channels, 4, 6)
    weights = [
        1 + 0.5 * g.random(part),
        g.random(part),
        g.random(2 * qk + part, part, 1, 1),
        g.random(2 * qk + part),
        g.random(channels, channels, 1, 1),
        g.random(channels),
    ]
    how = {"dim_qk": qk, "dim_v": part, "scale": qk**-0.5, "epsilon": 1e-5, **FREE, **change}
    return g, ([x, *weights], how)


def test_single_head_attention() -> None:
    g, (inputs, how) = single_head(min=0.0)
    model = g.model(g.fused("SingleHeadAttention", *inputs, **how))
    assert lowered(model) == []
    assert census(model) == {
        "Tanh": 1,
        "Slice": 1,
        "Reshape": 2,
        "LayerNormalization": 1,
        "Conv": 2,
        "Transpose": 3,
        "@MapAttention": 1,
        "Add": 1,
    }
    attend = only(model, "MapAttention")
    assert {name: attribute(attend, name) for name in ("dim_qk", "dim_v", "min")} == {
        "dim_qk": 4,
        "dim_v": 5,
        "min": 0.0,
    }
    assert (attribute(attend, "plugin_namespace"), attribute(attend, "plugin_version")) == (
        "attnc",
        "1",
    )
    norm = only(model, "LayerNormalization")  # scale and shift are in the convolution behind
    assert (const(norm.inputs[1]) == 1).all()
    assert len(norm.inputs) == 2
    assert const(norm.inputs[1]).shape == (5 * 4 * 6,)


def test_single_head_attention_of_computed_weights_is_refused() -> None:
    g, (inputs, how) = single_head()
    inputs[3] = g.like(g.op("Neg", g.input(13, 5, 1, 1, name="w")), 13, 5, 1, 1)
    model = g.model(g.fused("SingleHeadAttention", *inputs, **how))
    (refusal,) = lowered(model)
    assert refusal.reason == "input 3 is not a constant"
    assert plugins_of(model) == {}


def test_a_map_of_unknown_size_is_refused() -> None:
    g, (inputs, how) = single_head()
    g.graph.inputs[0].shape = ir.Shape(["n", 11, "height", 6])
    inputs[0].shape = ir.Shape(["n", 11, "height", 6])
    model = g.model(g.fused("SingleHeadAttention", *inputs, **how))
    (refusal,) = lower(model, PLAIN)
    assert refusal.reason == "the size of the map is not known"
    assert plugins_of(model) == {}


def test_a_map_of_unknown_rank_is_refused() -> None:
    g, (inputs, how) = single_head()
    node = g.fused("SingleHeadAttention", *inputs, **how)
    model = g.model(node)
    inputs[0].shape = None
    (refusal,) = lower(model, PLAIN)
    assert "is not known to have 4 axes" in refusal.reason


# --- Sparsifiner ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", "Active"])
def test_sparse_attention_becomes_two_plugins(suffix: str) -> None:
    name = f"SparseAttention{suffix}"
    example = get(name).examples(np.random.default_rng(0))[0]
    model, feeds = of_example(name, example)
    assert lowered(model, feeds=feeds) == []
    assert census(model) == {f"@SparseSummary{suffix}": 1, f"@SparseRows{suffix}": 1}
    rows, summary = only(model, f"SparseRows{suffix}"), only(model, f"SparseSummary{suffix}")
    assert rows.inputs[1] is summary.outputs[0]
    for made in (rows, summary):
        wanted = set(get(made.op_type).attributes) | {"plugin_namespace", "plugin_version"}
        assert set(made.attributes) == wanted
    if suffix:
        assert rows.inputs[5] is summary.inputs[4] is model.graph.inputs[1]


def test_sparse_attention_of_computed_weights_is_refused() -> None:
    example = get("SparseAttention").examples(np.random.default_rng(0))[0]
    model, feeds = of_example("SparseAttention", example)
    node = only(model, "SparseAttention")
    held = node.inputs[6]
    basis = ir.Value(name="given", shape=held.shape, type=ir.TensorType(ir.DataType.FLOAT))
    model.graph.inputs.append(basis)
    node.replace_input_with(6, basis)
    feeds["given"] = const(held)
    model = copied(model)
    before = sorted(model.graph.opset_imports)
    # its rank and width come from weights 3 and 5; the others may be computed
    assert lowered(model, feeds=feeds) == []
    assert sorted(model.graph.opset_imports) == before


# --- GLMix ---------------------------------------------------------------------------------------

SLOTS, WIDTH, GRID = 4, 8, (2, 2)


def clusters(learned: bool = False, *, twice: bool = False) -> ir.Model:
    """Slots of a map [B,6,4,C] or of learned rows, clustered and dispatched."""
    g = Graph()
    pixels = g.like(g.op("Tanh", g.input("n", 6, 4, WIDTH)), "n", 6, 4, WIDTH)
    tokens = g.like(g.op("Reshape", pixels, [0, -1, WIDTH]), "n", 24, WIDTH)
    if learned:
        slots = g.like(g.op("Relu", g.input("n", SLOTS, WIDTH, name="s")), "n", SLOTS, WIDTH)
    else:
        slots = g.fused("GridPool", pixels, grid=GRID)
    gathered, logits = g.fused("SlotCluster", tokens, slots, scale=3.0)
    residual = g.like(g.op("Sin", pixels), "n", 6, 4, WIDTH)
    flat = g.like(g.op("Reshape", residual, [0, -1, WIDTH]), "n", 24, WIDTH)
    mixed = g.fused("SlotDispatchAdd", logits, gathered, flat)
    back = g.like(g.op("Reshape", mixed, [0, 6, 4, WIDTH]), "n", 6, 4, WIDTH)
    outputs = [g.like(g.op("Neg", back), "n", 6, 4, WIDTH)]
    if twice:
        outputs.append(g.like(g.op("Neg", slots), "n", SLOTS, WIDTH))
    return g.model(*outputs)


def test_pooled_slots_are_averaged_by_the_plugin() -> None:
    model = clusters()
    assert lowered(model) == []
    assert plugins_of(model) == {"PooledSlotCluster": 1, "MapSlotDispatchAdd": 1}
    assert census(model)["Reshape"] == 1  # the tokens that the clusters gather
    pooled, dispatch = only(model, "PooledSlotCluster"), only(model, "MapSlotDispatchAdd")
    assert attribute(pooled, "grid") == list(GRID)
    assert len(dispatch.inputs[2].shape) == len(dispatch.outputs[0].shape) == 4


def test_learned_slots_stay() -> None:
    model = clusters(learned=True)
    assert lowered(model) == []
    assert plugins_of(model) == {"SlotCluster": 1, "MapSlotDispatchAdd": 1}


def test_slots_with_another_reader_are_averaged_outside() -> None:
    model = clusters(twice=True)
    assert lowered(model) == []
    assert plugins_of(model) == {"SlotCluster": 1, "MapSlotDispatchAdd": 1}


def test_a_dispatch_between_tokens_stays() -> None:
    g = Graph()
    logits = g.input("n", 24, SLOTS)
    slots, rest = (
        g.like(g.op(op, g.input("n", rows, WIDTH, name=op)), "n", rows, WIDTH)
        for op, rows in (("Tanh", SLOTS), ("Sin", 24))
    )
    model = g.model(g.fused("SlotDispatchAdd", logits, slots, rest))
    assert lowered(model) == []
    assert plugins_of(model) == {"SlotDispatchAdd": 1}


def test_a_dispatch_into_another_map_stays() -> None:
    g = Graph()
    logits, slots = g.input("n", 24, SLOTS), g.input("n", SLOTS, WIDTH, name="s")
    pixels = g.like(g.op("Tanh", g.input("n", 6, 4, WIDTH, name="p")), "n", 6, 4, WIDTH)
    flat = g.like(g.op("Reshape", pixels, [0, -1, WIDTH]), "n", 24, WIDTH)
    mixed = g.fused("SlotDispatchAdd", logits, slots, flat)
    turned = g.like(g.op("Reshape", mixed, [0, 4, 6, WIDTH]), "n", 4, 6, WIDTH)
    model = g.model(g.like(g.op("Neg", turned), "n", 4, 6, WIDTH))
    assert lowered(model) == []
    assert plugins_of(model) == {"SlotDispatchAdd": 1}


def layer_and_map(perm: list[int], clamp: dict[str, float]) -> ir.Model:
    g = Graph()
    x = g.like(g.op("Tanh", g.input("n", 6, 4, WIDTH)), "n", 6, 4, WIDTH)
    y = g.fused("Linear", x, g.random(5, WIDTH), g.random(5), **clamp)
    sizes = ["n", *([6, 4, 5][axis - 1] for axis in perm[1:])]
    return g.model(g.like(g.op("Transpose", y, perm=perm), *sizes))


@pytest.mark.parametrize(
    ("clamp", "kind"),
    [(FREE, None), ({"min": 0.0, "max": NO_MAX}, "Relu"), ({"min": 0.0, "max": 6.0}, "Clip")],
)
def test_a_layer_before_a_map_is_a_convolution(clamp: dict[str, float], kind: str | None) -> None:
    model = layer_and_map([0, 3, 1, 2], clamp)
    assert lowered(model) == []
    wanted = {"Tanh": 1, "Transpose": 1, "Conv": 1}
    assert census(model) == (wanted | {kind: 1} if kind else wanted)


def test_a_layer_before_another_turn_stays_a_product() -> None:
    model = layer_and_map([0, 2, 1, 3], FREE)
    assert lowered(model) == []
    assert "Conv" not in census(model)


# --- what is common to all -----------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in WHOLE if n in FORMS and FORMS[n].plugin])
def test_bodies_leave_a_plugin_out(name: str) -> None:
    example = get(name).examples(np.random.default_rng(1))[0]
    model, feeds = of_example(name, example)
    assert plugin_operators(model) == [name]
    assert lowered(model, Options(20, False, frozenset({name})), feeds=feeds) == []
    assert plugins_of(model) == {}


def test_names_of_outputs_and_what_is_not_ours_stay() -> None:
    g = Graph()
    x = g.input("n", 3, 4, 6)
    first = g.like(g.conv(x, 3, 11), "n", 11, 4, 6)
    _, (inputs, how) = single_head()
    middle = g.fused("SingleHeadAttention", first, *inputs[1:], **how)
    last = g.like(g.op("Exp", middle), "n", 11, 4, 6)
    model = g.model(middle, last)
    outside, held = first.producer(), list(first.producer().inputs)
    assert lowered(model) == []
    assert [value.name for value in model.graph.outputs] == ["y0", "y1"]
    assert outside in list(model.graph)
    assert list(outside.inputs) == held


def test_two_nodes_of_one_name_are_told_apart() -> None:
    g = Graph()
    x = g.input("n", 4)
    y = g.like(g.op("Tanh", g.like(g.op("Tanh", x), "n", 4)), "n", 4)
    model = g.model(y)
    for node in model.graph:
        node.name = "same"
    lower(model, PLAIN)
    assert [node.name for node in model.graph] == ["same", "same~1"]


def test_a_graph_that_is_lowered_again_stays() -> None:
    g, (inputs, how) = single_head()
    model = g.model(g.fused("SingleHeadAttention", *inputs, **how))
    lowered(model)
    first = ir.to_proto(model).SerializeToString(deterministic=True)
    lowered(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == first


def test_refusals_name_their_node() -> None:
    from attnc.compiler.contents import refused

    g, (inputs, how) = single_head()
    inputs[0].shape = ir.Shape(["n", 11, "height", 6])
    g.graph.inputs[0].shape = inputs[0].shape
    model = g.model(g.fused("SingleHeadAttention", *inputs, **how))
    (place,) = map(refused, lower(model, PLAIN))
    assert (place.module, place.source) == (MODULE, SOURCE)
    assert place.node


def test_weights_are_those_of_the_operators() -> None:
    assert all(max(places) < len(get(name).inputs) for name, places in WEIGHTS.items())
