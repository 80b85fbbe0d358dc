"""What float16 and bfloat16 cannot hold or do, types that are fixed, and what others have cast."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from precision_graphs import (
    BRAIN,
    DIM,
    FLOAT,
    HALF,
    TOKENS,
    WORST,
    casts,
    convert,
    copy_of,
    error,
    linear,
    strictly,
    types,
)
from rewriting import MODULE, SOURCE, Builder, compute, only, random_feeds, reasons

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops.registry import make_node
from attnc.compiler.pipeline import run_pipeline
from attnc.compiler.provenance import MODULE_KEY, SOURCE_KEY
from attnc.passes import pipelines
from attnc.passes.graph import attribute
from attnc.passes.precision.to_precision import ToPrecision
from attnc.runtimes.ranges import record_ranges
from attnc.targets.tensorrt.bodies import attach_functions


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
