"""Float16 and bfloat16 graphs: what stays float32 and why, and that the numbers are right."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from precision_graphs import (
    DIM,
    FLOAT,
    HALF,
    TOKENS,
    WORST,
    block,
    casts,
    convert,
    copy_of,
    error,
    linear,
    naively,
    types,
    weights_of,
)
from rewriting import Builder, compute, only, random_feeds, reasons

from attnc.passes.precision.to_precision import ToPrecision


def test_a_transformer_without_regions_is_low_throughout() -> None:
    b = Builder()
    image = b.input("n", 3, 12, 12)
    cut = {"kernel_shape": [4, 4], "strides": [4, 4], "pads": [0] * 4}
    patches = b.op("Conv", image, b.random(DIM, 3, 4, 4) / 7, b.random(DIM), **cut)
    x = b.op("Transpose", b.op("Reshape", patches, [0, DIM, TOKENS]), perm=[0, 2, 1])
    pooled = b.op("ReduceMean", block(b, block(b, x)), [1], keepdims=0)
    model = b.model(b.op("Gemm", pooled, b.random(10, DIM), b.random(10), transB=1))
    nodes = len(model.graph)
    assert error(model, ToPrecision("fp16")) < WORST
    assert casts(model) == 2
    assert len(model.graph) == nodes + 2
    stored = {value.dtype for value in model.graph.initializers.values()}
    assert stored == {HALF, ir.DataType.INT64}
    assert [v.dtype for v in (*model.graph.inputs, *model.graph.outputs)] == [FLOAT, FLOAT]
    assert [v.name for v in (*model.graph.inputs, *model.graph.outputs)] == ["x", "y0"]


def test_every_node_is_counted() -> None:
    b = Builder()
    model = b.model(b.op("Relu", linear(b, b.input("n", DIM))))
    result = convert(model, ToPrecision("fp16"))
    assert (result.matches, result.regions, result.near_misses) == (3, (), ())


def test_inputs_and_outputs_become_low_on_demand() -> None:
    b = Builder()
    model = b.model(b.op("Relu", linear(b, b.input("n", DIM))))
    convert(model, ToPrecision("fp16", keep_io=False))
    assert casts(model) == 0
    assert [v.dtype for v in (*model.graph.inputs, *model.graph.outputs)] == [HALF, HALF]
    (found,) = compute(model, random_feeds(model))
    assert found.dtype == np.float16


def pruned(b: Builder) -> tuple[ir.Value, ir.Value]:
    """Tokens chosen by the attention of the first one, and their places."""
    x = b.input("n", TOKENS, DIM)
    weights = weights_of(b, x)
    mixed = b.op("Add", x, b.op("MatMul", weights, linear(b, x)))
    row = b.op("Squeeze", b.op("Slice", weights, [0], [1], [1]), [1])
    value, index = b.ops("TopK", row, np.array([4]), outputs=2, axis=-1)
    kept = b.op("GatherND", mixed, b.op("Unsqueeze", index, [2]), batch_dims=1)
    share = b.op("Div", value, b.op("ReduceSum", value, [1], keepdims=1))
    fused = b.op("MatMul", b.op("Unsqueeze", share, [1]), kept)
    return b.op("Concat", kept, fused, axis=1), b.op("Cast", index, to=FLOAT)


def test_scores_stay_float32_up_to_the_product() -> None:
    b = Builder()
    model = b.model(*pruned(b))
    result = convert(copy_of(model), ToPrecision("fp16"))
    assert error(model, ToPrecision("fp16")) < WORST  # of the places, too
    # Mul, Softmax, Slice, Squeeze, TopK, ReduceSum, Div, Unsqueeze; the Cast of the places
    found = {region.reason: len(region.nodes) for region in result.regions}
    assert found == {"it ranks tokens": 8, "between float32 nodes": 1}
    assert "8 node(s) stay float32: it ranks tokens" in reasons(result)
    assert types(model)["TopK"] == types(model)["Softmax"] == FLOAT
    # up: scores and the output; down: input, weights and shares that enter products; the places
    assert casts(model) == 2 + 3 + 1
    assert only(model, "TopK").inputs[0].dtype == FLOAT


def test_a_gate_of_the_tokens_does_not_take_them_along() -> None:
    b = Builder()
    x = b.input("n", TOKENS, DIM)
    gates = b.op("Sigmoid", linear(b, x, 1))
    _, index = b.ops("TopK", gates, np.array([4]), outputs=2, axis=1)
    model = b.model(linear(b, b.op("Mul", b.op("Relu", x), gates)), b.op("Cast", index, to=FLOAT))
    regions = convert(model, ToPrecision("fp16")).regions
    assert [len(r.nodes) for r in regions if "ranks" in r.reason] == [3]  # Add, Sigmoid, TopK
    assert only(model, "Mul").outputs[0].dtype == HALF


def cosine(b: Builder, x: ir.Value) -> ir.Value:
    length = b.op("ReduceL2", x, [-1], keepdims=1)
    return b.op("Div", x, b.op("Expand", b.op("Clip", length, 1e-12), [1, TOKENS, DIM]))


def test_cosine_attention_normalises_in_float32() -> None:
    b = Builder()
    x = b.op("Mul", linear(b, b.input("n", TOKENS, DIM)), np.float32(400.0))
    scores = b.op("MatMul", cosine(b, x), b.op("Transpose", cosine(b, x), perm=[0, 2, 1]))
    model = b.model(b.op("MatMul", b.op("Softmax", b.op("Mul", scores, 10.0)), x))
    result = convert(copy_of(model), ToPrecision("fp16"))
    assert [region.reason for region in result.regions] == ["a written-out norm"]
    assert len(result.regions[0].nodes) == 8
    assert error(model, ToPrecision("fp16")) < WORST
    assert casts(model) == 5  # the input; x up, once for all four; two quotients down; the output


@pytest.mark.parametrize("root", ["Sqrt", "Pow"])
def test_a_written_out_layer_norm_stays_float32(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    b = Builder()
    x = b.op("Mul", linear(b, b.input("n", TOKENS, DIM)), np.float32(500.0))
    centred = b.op("Sub", x, b.op("ReduceMean", x, [-1]))
    variance = b.op("ReduceMean", b.op("Pow", centred, 2.0), [-1])
    shifted = b.op("Add", variance, 1e-6)
    if root == "Sqrt":
        normal = b.op("Div", centred, b.op("Sqrt", shifted))
    else:
        normal = b.op("Mul", centred, b.op("Pow", shifted, -0.5))
    model = b.model(linear(b, b.op("Mul", normal, b.random(DIM))))
    feeds = random_feeds(model)
    (exact,) = compute(model, feeds)
    wrong = naively(model, monkeypatch, feeds)  # squares overflow, so that rows become zeros
    assert np.abs(wrong - exact).max() > exact.std()
    (region,) = convert(copy_of(model), ToPrecision("fp16")).regions
    assert len(region.nodes) == 7
    assert error(model, ToPrecision("fp16")) < WORST
    assert casts(model) == 4


def masked(b: Builder, how: str) -> tuple[ir.Model, dict[str, np.ndarray]]:
    """Softmax of scores with a fill; the second row of the mask hides everything."""
    q = b.input("n", TOKENS, DIM)
    shown = b.input(TOKENS, TOKENS, name="shown", dtype=ir.DataType.BOOL)
    scores = b.op("MatMul", q, b.op("Transpose", q, perm=[0, 2, 1]))
    lowest = np.finfo(np.float32).min
    if how == "Where":
        scores = b.op("Where", shown, scores, lowest)
    else:
        hidden = b.op("Sub", 1.0, b.op("Cast", shown, to=FLOAT))
        scores = b.op("Add", scores, b.op("Mul", hidden, lowest))
    model = b.model(b.op("MatMul", b.op("Softmax", scores, axis=-1), q))
    feeds = random_feeds(model)
    feeds["shown"] = np.tri(TOKENS, dtype=bool)
    feeds["shown"][1] = False
    return model, feeds


@pytest.mark.parametrize("how", ["Where", "Add"])
def test_a_mask_by_fill_stays_float32_up_to_the_softmax(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, feeds = masked(Builder(), how)
    assert np.isnan(naively(model, monkeypatch, feeds)).any()
    result = convert(copy_of(model), ToPrecision("fp16"))
    assert "a constant does not fit into float16" in reasons(result)
    assert error(model, ToPrecision("fp16"), feeds) < WORST
    assert types(model)["Softmax"] == FLOAT
    if how == "Add":  # what makes the mask is read as float32 only
        assert only(model, "Sub").outputs[0].dtype == FLOAT


def test_a_fill_that_fits_costs_nothing() -> None:
    b = Builder()
    x = b.input("n", TOKENS, TOKENS)
    model = b.model(b.op("Softmax", b.op("Add", linear(b, x, TOKENS, TOKENS), -100.0)))
    assert convert(model, ToPrecision("fp16")).regions == ()


def test_an_epsilon_that_float16_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    b = Builder()
    x = b.op("Relu", b.op("MatMul", b.input("n", TOKENS, DIM), np.eye(DIM)))
    total = b.op("Add", b.op("ReduceSum", x, [-1]), 1e-9)
    model = b.model(linear(b, b.op("Div", x, total)))
    feeds = random_feeds(model)
    feeds["x"][:, 2] = -1.0  # a row of zeros
    assert np.isnan(naively(model, monkeypatch, feeds)).any()
    result = convert(copy_of(model), ToPrecision("fp16"))
    assert [len(region.nodes) for region in result.regions] == [3]
    assert error(model, ToPrecision("fp16"), feeds) < WORST
