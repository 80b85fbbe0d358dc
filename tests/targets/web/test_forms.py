"""The forms for onnxruntime-web compute what the operators mean, and refuse what they must."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest

from attnc.compiler.ops.base import Example
from attnc.compiler.ops.registry import get, make_node
from attnc.compiler.pipeline import Pass
from attnc.compiler.provenance import MODULE_KEY
from attnc.passes.clean.infer import InferShapes
from attnc.targets.web.clips import SimplifyClips
from attnc.targets.web.group_norms import MixerWithInstanceNorm
from attnc.targets.web.instance_norms import NormRowsAsInstances
from attnc.targets.web.odd_maps import RowsOnOddMaps
from attnc.targets.web.rows_from_maps import RowsFromMaps
from attnc.targets.web.sparse_masks import SparseMasksAsSums
from attnc.targets.web.standard import to_standard
from attnc.targets.web.window_tiles import WindowsAsTiles

#: What is computed; the other inputs are weights.
COMPUTED = frozenset({"qkv", "x", "r"})
NAMES = (
    *("WindowAttention", "WindowAttentionBare", "WindowAttentionPooled"),
    *("WindowAttentionPooledBare", "SingleHeadAttention", "FeedForward", "SparseAttention"),
    *("NormLinear", "NormLinearGelu"),
)
CASES = [
    pytest.param(name, place, id=f"{name}-{example.label}")
    for name in NAMES
    for place, example in enumerate(get(name).examples(np.random.default_rng(0)))
]
HEAD = '<ir_version: 9, opset_import: ["" : 20]>'


def example_of(name: str, place: int = 0) -> Example:
    return get(name).examples(np.random.default_rng(0))[place]


def model_of(name: str, example: Example, **changed: Any) -> ir.Model:
    """One operator whose weights are constants."""
    operator, given = get(name), example.attributes | changed
    values = []
    for label, array in zip(operator.inputs, example.inputs, strict=True):
        kind = ir.TensorType(ir.DataType.FLOAT)
        values.append(ir.Value(name=label, shape=ir.Shape(array.shape), type=kind))
        if label not in COMPUTED:
            values[-1].const_value = ir.tensor(array.astype(np.float32), name=label)
    node = make_node(name, values, given, name="n", metadata_props={MODULE_KEY: "blocks.0"})
    (sizes,) = operator.output_shapes([array.shape for array in example.inputs], given)
    out = node.outputs[0]
    out.name, out.shape, out.type = "y", ir.Shape(sizes), ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [value for value in values if value.const_value is None],
        node.outputs,
        nodes=[node],
        initializers=[value for value in values if value.const_value is not None],
        opset_imports={"": 20, "attnc": 1},
        name="g",
    )
    return ir.Model(graph, ir_version=9)


def run(model: ir.Model, feed: dict[str, Any]) -> Any:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    return session.run(None, feed)[0]


@pytest.mark.parametrize(("name", "place"), CASES)
def test_a_form_computes_the_operator(name: str, place: int) -> None:
    example = example_of(name, place)
    model = model_of(name, example)
    to_standard(model)
    inputs = zip(get(name).inputs, example.inputs, strict=True)
    feed = {label: a.astype(np.float32) for label, a in inputs if label in COMPUTED}
    expected = get(name).results(example)[0]
    limit = 1e-4 * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(run(model, feed), expected, atol=limit, rtol=0)


@pytest.mark.parametrize(
    ("step", "name", "place"),
    [
        (WindowsAsTiles(), "WindowAttention", 1),
        (WindowsAsTiles(), "WindowAttentionPooledBare", 1),
        (MixerWithInstanceNorm(), "SingleHeadAttention", 1),
        (RowsOnOddMaps(), "FeedForward", 0),
        (SparseMasksAsSums(), "SparseAttention", 0),
    ],
)
def test_a_form_is_put_once_and_says_where_it_came_from(step: Pass, name: str, place: int) -> None:
    model = model_of(name, example_of(name, place))
    assert step.run(model).matches == 1
    assert not any(node.domain == "attnc" for node in model.graph)
    assert all(node.metadata_props[MODULE_KEY] == "blocks.0" for node in model.graph)
    assert step.run(model).matches == 0


@pytest.mark.parametrize(
    ("step", "name", "place", "changed", "reason"),
    [
        (WindowsAsTiles(), "WindowAttention", 6, {}, "3 channels"),
        (RowsOnOddMaps(), "FeedForward", 3, {}, "fill the columns"),
        (SparseMasksAsSums(), "SparseAttention", 0, {"score_threshold": 0.5}, "no key at all"),
    ],
)
def test_what_a_form_does_not_fit_is_refused_with_the_reason(
    step: Pass, name: str, place: int, changed: dict[str, Any], reason: str
) -> None:
    model = model_of(name, example_of(name, place), **changed)
    found = step.run(model)
    assert found.matches == 0
    assert len(found.near_misses) == 1
    assert reason in found.near_misses[0].reason


def parsed(signature: str, nodes: str, **constants: Any) -> ir.Model:
    proto = onnx.parser.parse_model(f"{HEAD} g {signature} {{ {nodes} }}")
    for label, array in constants.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, label))
    model = ir.from_proto(proto)
    InferShapes().run(model)
    return model


@pytest.mark.parametrize("sizes", ["2,5,8", "7,8", "2,3,4,8"])
def test_a_layer_norm_becomes_an_instance_norm(sizes: str) -> None:
    rng = np.random.default_rng(1)
    weights = {"g": 1 + rng.random(8, np.float32), "s": rng.random(8, np.float32)}
    text = "y = LayerNormalization <axis = -1, epsilon = 1e-6> (x, g, s)"
    model = parsed(f"(float[{sizes}] x) => (float[{sizes}] y)", text, **weights)
    x = rng.standard_normal([int(size) for size in sizes.split(",")]).astype(np.float32)
    before = run(model, {"x": x})
    assert NormRowsAsInstances().run(model).matches == 1
    assert Counter(node.op_type for node in model.graph)["InstanceNormalization"] == 1
    np.testing.assert_allclose(run(model, {"x": x}), before, atol=1e-5)
    assert NormRowsAsInstances().run(model).matches == 0


def test_a_layer_norm_over_two_axes_stays() -> None:
    ones = np.ones((5, 8), np.float32)
    text = "y = LayerNormalization <axis = 1> (x, g)"
    model = parsed("(float[2,5,8] x) => (float[2,5,8] y)", text, g=ones)
    found = NormRowsAsInstances().run(model)
    assert found.matches == 0
    assert "not over the last axis" in found.near_misses[0].reason


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [(0.0, 3.4028234663852886e38, "Relu"), (-3.4028234663852886e38, 3.5e38, "Identity")],
)
def test_a_clip_that_clamps_little(low: float, high: float, kind: str) -> None:
    bounds = {"a": np.array(low, np.float32), "b": np.array(min(high, 3.4028234e38), np.float32)}
    model = parsed("(float[4] x) => (float[4] y)", "y = Clip (x, a, b)", **bounds)
    assert SimplifyClips().run(model).matches == 1
    assert [node.op_type for node in model.graph] == [kind]
    assert SimplifyClips().run(model).matches == 0


def test_a_clip_at_six_stays() -> None:
    bounds = {"a": np.array(0, np.float32), "b": np.array(6, np.float32)}
    model = parsed("(float[4] x) => (float[4] y)", "y = Clip (x, a, b)", **bounds)
    assert SimplifyClips().run(model).matches == 0


def test_a_clip_with_computed_bounds_is_refused() -> None:
    model = parsed("(float[4] x, float a) => (float[4] y)", "y = Clip (x, a)")
    assert "not a constant" in SimplifyClips().run(model).near_misses[0].reason


def mapped(channels: int, results: int, *, seen: bool = False) -> tuple[ir.Model, Any]:
    """A 1x1 convolution and a Transpose to channels-last; `seen`: the map is an output, too."""
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((results, channels, 1, 1)).astype(np.float32)
    bias = rng.standard_normal(results).astype(np.float32)
    x = rng.standard_normal((2, channels, 3, 5)).astype(np.float32)
    attributes = next(
        example.attributes
        for example in get("FusedConv").examples(rng)
        if example.attributes["group"] == 1
    ) | {"kernel_shape": [1, 1], "strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0]}
    model = model_of("FusedConv", Example("", (x, weight, bias), attributes))
    graph = model.graph
    turn = ir.node("Transpose", [graph.outputs[0]], {"perm": [0, 2, 3, 1]}, name="turn")
    turn.outputs[0].name, turn.outputs[0].type = "t", graph.outputs[0].type
    turn.outputs[0].shape = ir.Shape((2, 3, 5, results))
    graph.append(turn)
    graph.outputs.append(turn.outputs[0])
    if not seen:
        graph.outputs.pop(0)
    expected = get("FusedConv").results(Example("", (x, weight, bias), attributes))[0]
    return model, (x, expected.transpose(0, 2, 3, 1))


def test_a_map_read_by_pixels_is_a_product() -> None:
    model, (x, expected) = mapped(4, 12)
    assert RowsFromMaps().run(model).matches == 1
    assert RowsFromMaps().run(model).matches == 0
    assert Counter(node.op_type for node in model.graph)["Gemm"] == 1
    to_standard(model)
    np.testing.assert_allclose(run(model, {"x": x}), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "seen", "reason"),
    [((12, 4), False, "more channels than the result"), ((4, 12), True, "as a map as well")],
)
def test_a_map_that_stays(sizes: tuple[int, int], seen: bool, reason: str) -> None:
    model, _ = mapped(*sizes, seen=seen)
    assert reason in RowsFromMaps().run(model).near_misses[0].reason
