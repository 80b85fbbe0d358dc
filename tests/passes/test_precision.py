"""Float16 and bfloat16 graphs: what stays float32 and why, and that the numbers are right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from rewriting import MODULE, SOURCE, Builder, compute, counts, only, random_feeds, reasons

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops.registry import make_node
from attnc.compiler.pipeline import run_pipeline
from attnc.compiler.provenance import MODULE_KEY, SOURCE_KEY, source_line, torch_module
from attnc.passes import pipelines
from attnc.passes.graph import attribute
from attnc.passes.precision import to_precision
from attnc.passes.precision.plan import PrecisionResult
from attnc.passes.precision.to_precision import ToPrecision
from attnc.runtimes.ranges import record_ranges
from attnc.targets.tensorrt.bodies import attach_functions

FLOAT, HALF, BRAIN = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16
TOKENS, DIM = 9, 16
WORST = 2e-2  # error by the standard deviation of the float32 output


def convert(model: ir.Model, step: ToPrecision) -> PrecisionResult:
    """Run the pass; the model is valid, one type per node, the pass idempotent, origins kept."""
    twin = copy_of(model)
    result = step.run(model)
    data = ir.to_proto(model)
    onnx.checker.check_model(data, full_check=True)
    step.run(twin)
    assert ir.to_proto(twin).SerializeToString() == data.SerializeToString()
    assert step.run(model).matches == 0
    assert ir.to_proto(model).SerializeToString() == data.SerializeToString()
    names = [node.name for node in model.graph if node.op_type == "Cast"]
    assert all(names)
    assert len(set(names)) == len(names)
    for node in model.graph:
        assert torch_module(node) == MODULE, node
        assert source_line(node) == SOURCE, node
        kinds = {v.dtype for v in node.inputs if v is not None} & {FLOAT, HALF, BRAIN}
        assert len(kinds) < 2 or node.op_type == "Resize", node
    return result


def error(model: ir.Model, step: ToPrecision, feeds: Mapping | None = None) -> float:
    """The worst error of the converted graph, by the deviation of the float32 output.

    In ONNX Runtime, and with every node rounded to its type.
    """
    feeds = random_feeds(model) if feeds is None else feeds
    exact = compute(model, feeds)
    convert(model, step)
    return max(
        float(np.abs(a.astype(np.float32) - b).max() / b.std())
        for found in (compute(model, feeds), strictly(model, feeds))
        for a, b in zip(found, exact, strict=True)
    )


def strictly(model: ir.Model, feeds: Mapping) -> list[np.ndarray]:
    """All outputs with every node rounded to its type; ONNX Runtime skips that on a CPU."""
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        return ReferenceEvaluator(ir.to_proto(model)).run(None, dict(feeds))


def copy_of(model: ir.Model) -> ir.Model:
    return ir.from_proto(ir.to_proto(model))


def naively(model: ir.Model, monkeypatch: pytest.MonkeyPatch, feeds: Mapping) -> np.ndarray:
    """What the graph computes if no region stays float32."""
    copy = copy_of(model)
    with monkeypatch.context() as patch, np.errstate(over="ignore"):
        patch.setattr(to_precision, "RULES", ())
        ToPrecision("fp16").run(copy)
    return strictly(copy, feeds)[0]


def types(model: ir.Model) -> dict[str, ir.DataType | None]:
    """The type of each operator's first output; for operators that occur once."""
    return {node.op_type: node.outputs[0].dtype for node in model.graph}


def casts(model: ir.Model) -> int:
    return counts(model).get("Cast", 0)


def linear(b: Builder, x: ir.Value, wide: int = DIM, narrow: int = DIM) -> ir.Value:
    return b.op("Add", b.op("MatMul", x, b.random(narrow, wide) / narrow**0.5), b.random(wide))


def norm(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("LayerNormalization", x, b.random(DIM), b.random(DIM), axis=-1)


def weights_of(b: Builder, x: ir.Value) -> ir.Value:
    """Attention weights [batch, tokens, tokens]."""
    keys = b.op("Transpose", linear(b, x), perm=[0, 2, 1])
    scores = b.op("MatMul", linear(b, x), keys)
    return b.op("Softmax", b.op("Mul", scores, np.float32(DIM**-0.5)), axis=-1)


def block(b: Builder, x: ir.Value) -> ir.Value:
    """A transformer block."""
    y = norm(b, x)
    x = b.op("Add", x, linear(b, b.op("MatMul", weights_of(b, y), linear(b, y))))
    return b.op("Add", x, linear(b, b.op("Gelu", linear(b, norm(b, x), 2 * DIM)), DIM, 2 * DIM))


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


def test_recorded_ranges_keep_what_overflows() -> None:
    b = Builder()
    x = b.input("n", TOKENS, DIM)
    large = b.op("MatMul", linear(b, x), b.random(DIM, DIM) * 2e4)
    small = b.op("Mul", b.op("Relu", large), np.float32(1e-4))
    model = b.model(linear(b, small))
    feeds = random_feeds(model)
    ranges = record_ranges(model, [feeds])
    assert ranges[large.name] > 65504
    assert ranges[small.name] < 100
    blind = copy_of(model)
    convert(blind, ToPrecision("fp16"))
    assert not np.isfinite(strictly(blind, feeds)[0]).all()
    result = convert(copy_of(model), ToPrecision("fp16", ranges))
    assert "recorded values reach" in reasons(result)
    assert sum(len(region.nodes) for region in result.regions) == 3  # MatMul, Relu, Mul
    assert error(model, ToPrecision("fp16", ranges), feeds) < WORST


def test_a_weight_that_does_not_fit_keeps_its_node() -> None:
    b = Builder()
    weights = b.random(DIM, DIM)
    weights[3, 4] = 1e5
    product = b.op("MatMul", b.op("Mul", b.input("n", DIM), 1e-3), weights)
    model = b.model(linear(b, b.op("Tanh", product)))
    result = convert(copy_of(model), ToPrecision("fp16"))
    assert "a constant does not fit into float16" in reasons(result)
    assert error(model, ToPrecision("fp16")) < WORST
    first, last = (node for node in model.graph if node.op_type == "MatMul")
    assert (first.inputs[1].dtype, last.inputs[1].dtype) == (FLOAT, HALF)


def test_a_constant_is_stored_twice_if_its_readers_differ() -> None:
    b = Builder()
    x = linear(b, b.input("n", DIM))
    shared = b.const(np.abs(b.random(DIM)))
    inverse = b.op("Div", shared, b.op("ReduceL2", x, [-1], keepdims=1))
    model = b.model(linear(b, b.op("Mul", b.op("Mul", x, shared), inverse)))
    name = shared.name
    convert(model, ToPrecision("fp16"))
    found = {key: v.dtype for key, v in model.graph.initializers.items() if key.startswith(name)}
    assert found == {name: FLOAT, f"{name}_float16": HALF}


def test_types_that_the_operator_fixes_stay() -> None:
    b = Builder()
    image = b.conv(b.input("n", 3, 4, 4), 3, 3)
    mask = b.op("Cast", b.op("Greater", image, 0.0), to=FLOAT)
    count = b.op("Cast", b.op("Slice", b.op("Shape", image), [2], [4]), to=FLOAT)
    scales = b.op("Concat", [1.0, 1.0], b.op("Div", [8.0, 8.0], count), axis=0)
    larger = b.op("Resize", b.op("Mul", image, mask), None, scales, mode="nearest")
    steps = b.op("Range", np.float32(0), np.float32(8), np.float32(1))
    model = b.model(b.op("Add", larger, steps))
    result = convert(model, ToPrecision("fp16"))
    assert "Range of opset 20 has no float16" in reasons(result)
    resize = only(model, "Resize")
    assert [resize.inputs[0].dtype, resize.inputs[2].dtype] == [HALF, FLOAT]
    assert resize.inputs[2].producer().op_type == "Concat"  # not made low and cast back
    (mask_cast,) = [use.node for use in only(model, "Greater").outputs[0].uses()]
    assert attribute(mask_cast, "to") == HALF


def test_fills_follow_their_readers() -> None:
    b = Builder()
    x = b.input("n", DIM)
    ones = b.op("ConstantOfShape", b.op("Shape", x), value=ir.tensor(np.ones(1, np.float32)))
    model = b.model(linear(b, b.op("Add", x, ones)))
    assert error(model, ToPrecision("fp16")) < WORST
    assert types(model)["ConstantOfShape"] == HALF


@pytest.mark.parametrize(("opset", "low"), [(20, 0), (22, 1)])
def test_operators_without_bfloat16_stay(opset: int, low: int) -> None:
    b = Builder(opset)
    model = b.model(b.op("Relu", b.conv(b.input("n", 3, 4, 4), 3, 8)))
    result = convert(model, ToPrecision("bf16"))
    assert types(model)["Conv"] == (BRAIN if low else FLOAT)
    assert ("Conv of opset 20 has no bfloat16" in reasons(result)) == (not low)


def test_bfloat16_is_computed_right() -> None:
    b = Builder()
    model = b.model(linear(b, b.op("Relu", linear(b, b.input("n", DIM)))))
    feeds = random_feeds(model)
    (exact,) = compute(model, feeds)
    assert convert(model, ToPrecision("bf16")).regions == ()
    assert {v.dtype for v in model.graph.initializers.values()} == {BRAIN}
    (found,) = strictly(model, feeds)
    assert np.abs(found - exact).max() / exact.std() < 8 * WORST  # 8 bits, not 11


def test_an_author_s_casts_are_left_alone() -> None:
    b = Builder()
    careful = b.op("Exp", linear(b, b.input("n", DIM)))
    half = b.op("Relu", b.op("Cast", careful, to=HALF))
    model = b.model(b.op("Cast", half, to=FLOAT))
    result = convert(model, ToPrecision("fp16"))
    assert result.matches == 0
    assert "next to a Cast" in reasons(result)
    assert types(model)["Exp"] == types(model)["MatMul"] == FLOAT


def test_control_flow_reads_float32() -> None:
    text = """
    <ir_version: 9, opset_import: ["" : 20]>
    g (bool c, float[4] x) => (float[4] y)
    <float[4] w = {1, 2, 3, 4}, float[4,4] m = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}>
    {
      p = MatMul (x, m)
      a = Mul (p, w)
      b = If (c) <
        then_branch = then () => (float[4] t) { t = Relu (a) },
        else_branch = other () => (float[4] e) { e = Add (a, w) }
      >
      y = MatMul (b, m)
    }
    """
    model = ir.from_proto(onnx.parser.parse_model(text))
    for node in model.graph.all_nodes():
        node.metadata_props.update({MODULE_KEY: MODULE, SOURCE_KEY: SOURCE})
    feeds = {"c": np.array(False), "x": np.array([0.1, 2, 3, 4], np.float32)}
    assert "control flow keeps its types" in reasons(convert(copy_of(model), ToPrecision("fp16")))
    assert error(model, ToPrecision("fp16"), feeds) < WORST
    assert types(model)["MatMul"] == HALF
    assert types(model)["If"] == FLOAT


def fused(b: Builder) -> ir.Model:
    x = b.op("Relu", b.input("n", TOKENS, DIM))
    inputs = [x, b.const(b.random(DIM, DIM)), b.const(b.random(DIM))]
    node = make_node("Linear", inputs, {"min": 0.0, "max": 6.0})
    node.metadata_props.update({MODULE_KEY: MODULE, SOURCE_KEY: SOURCE})
    b.graph.append(node)
    b.graph.opset_imports["attnc"] = 1
    node.outputs[0].type, node.outputs[0].shape = ir.TensorType(FLOAT), x.shape
    model = b.model(b.op("Tanh", node.outputs[0]))
    model.graph.outputs[0].shape = x.shape  # inference ends at the fused operator
    return model


def test_sequences_stay_float32() -> None:
    b = Builder()
    parts = b.op("SplitToSequence", linear(b, b.input("n", DIM)), np.array([4, 12]), axis=-1)
    model = b.model(b.op("Neg", b.op("SequenceAt", parts, np.array(0))))
    for value in (parts, model.graph.outputs[0]):
        value.shape = None
    model.graph.outputs[0].shape = ir.Shape(["n", 4])
    assert "sequences keep their type" in reasons(convert(copy_of(model), ToPrecision("fp16")))
    assert error(model, ToPrecision("fp16")) < WORST
    assert types(model)["MatMul"] == HALF


def test_an_unknown_type_is_refused() -> None:
    model = fused(Builder())
    only(model, "Linear").outputs[0].type = None
    with pytest.raises(UnsupportedError, match=f"type of the value .* is unknown\n.*{MODULE}"):
        ToPrecision("fp16").run(model)


def test_fused_operators_take_and_give_the_low_type() -> None:
    b = Builder()
    model = fused(b)
    feeds = random_feeds(model)
    (exact,) = compute(model, feeds)
    result = convert(model, ToPrecision("fp16"))
    assert (result.matches, casts(model)) == (3, 2)
    node = only(model, "Linear")
    assert {v.dtype for v in (*node.inputs, *node.outputs)} == {HALF}
    assert attach_functions(model, "fp16") == ["Linear"]
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    data = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, feeds)
    assert np.abs(found - exact).max() / exact.std() < WORST


def test_ranges_are_those_of_all_runs() -> None:
    b = Builder()
    x = b.input("n", DIM)
    model = b.model(b.op("Relu", b.op("Mul", x, -3.0)))
    data = ir.to_proto(model).SerializeToString()
    one = np.ones((1, DIM), np.float32)
    ranges = record_ranges(data, [one, {"x": -2 * one}])
    inner = only(model, "Mul").outputs[0].name
    assert ranges == {"x": 2.0, inner: 6.0, "y0": 6.0}


def test_an_exported_network_with_cosine_clusters() -> None:
    from glnet_variations import export

    model = export("plain")
    run_pipeline(model, [*pipelines.clean(), *pipelines.canonical()])
    feeds = random_feeds(model)
    (exact,) = compute(model, feeds)
    result = ToPrecision("fp16", record_ranges(model, [feeds])).run(model)
    assert {region.reason for region in result.regions} == {"a written-out norm"}
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    for found in (compute(model, feeds), strictly(model, feeds)):
        assert np.abs(found[0] - exact).max() / exact.std() < WORST
