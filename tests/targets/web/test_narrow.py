"""Operators on five and six axes: the same numbers from operators on at most four."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.compiler.provenance import MODULE_KEY, torch_module
from attnc.passes.clean.infer import InferShapes
from attnc.targets.web.merging import transposes
from attnc.targets.web.narrow import NarrowAxes, is_wide
from attnc.targets.web.standard import to_standard, wide_nodes

HEAD = '<ir_version: 9, opset_import: ["" : 20]>'
FIVE = "float[2,3,4,5,6] x"
SIX = "float[2,3,1,2,4,5] x"

#: (inputs, result, nodes). The last node gives y, of a few axes or of many.
GRAPHS = {
    "relu": (FIVE, "float[2,3,4,5,6] y", "y = Relu (x)"),
    "scalar": (FIVE, "float[2,3,4,5,6] y", "c = Constant <value_float = 3.0> () y = Mul (x, c)"),
    "one": (f"{FIVE}, float[1,1,1,1,1] w", "float[2,3,4,5,6] y", "y = Add (x, w)"),
    "channel": (f"{FIVE}, float[6] w", "float[2,3,4,5,6] y", "y = Add (x, w)"),
    "middle": (f"{FIVE}, float[4,1,6] w", "float[2,3,4,5,6] y", "y = Sub (x, w)"),
    "both-grow": (f"{FIVE}, float[1,3,1,5,1] w", "float[2,3,4,5,6] y", "y = Div (x, w)"),
    "every-other": (
        "float[2,1,4,1,6] x, float[1,3,1,5,1] w",
        "float[2,3,4,5,6] y",
        "y = Mul (x, w)",
    ),
    "where": (
        f"{FIVE}, float[3,1,5,1] w",
        "float[2,3,4,5,6] y",
        "c = Greater (x, w) y = Where (c, x, w)",
    ),
    "turn": (FIVE, "float[6,4,2,5,3] y", "y = Transpose <perm = [4,2,0,3,1]> (x)"),
    "turn-back": (FIVE, "float[6,5,4,3,2] y", "y = Transpose (x)"),
    "heads": (
        "float[2,7,36] x",
        "float[2,4,7,3] a, float[2,4,7,3] b, float[2,4,7,3] y",
        "s = Constant <value_ints = [2,7,3,4,3]> () r = Reshape (x, s)"
        "t = Transpose <perm = [2,0,3,1,4]> (r) p, q, v = Split <axis = 0, num_outputs = 3> (t)"
        "z = Constant <value_ints = [0]> () a = Squeeze (p, z) b = Squeeze (q, z)"
        "y = Squeeze (v, z)",
    ),
    "split-uneven": (
        FIVE,
        "float[2,3,1,5,6] a, float[2,3,3,5,6] y",
        "n = Constant <value_ints = [1,3]> () a, y = Split <axis = -3> (x, n)",
    ),
    "gather": (
        "float[2,3,4,5] x",
        "float[2,3,2,3,5] y",
        "i = Constant <value = int64[2,3] {0,1,2,3,-1,-2}> () y = Gather <axis = 2> (x, i)",
    ),
    "gather-one": (
        FIVE,
        "float[2,3,5,6] y",
        "i = Constant <value = int64 {2}> () y = Gather <axis = 2> (x, i)",
    ),
    "sum": (
        FIVE,
        "float[2,4,6] y",
        "a = Constant <value_ints = [1,3]> () y = ReduceSum <keepdims = 0> (x, a)",
    ),
    "mean-kept": (
        FIVE,
        "float[2,3,1,1,6] y",
        "a = Constant <value_ints = [2,3]> () y = ReduceMean (x, a)",
    ),
    "max-of-all": (FIVE, "float y", "y = ReduceMax <keepdims = 0> (x)"),
    "norm": (
        FIVE,
        "float[1,3,1,5,1] y",
        "a = Constant <value_ints = [0,-1,-3]> () y = ReduceMean (x, a)",
    ),
    "softmax": (FIVE, "float[2,3,4,5,6] y", "y = Softmax <axis = 1> (x)"),
    "concat": (
        f"{FIVE}, float[2,3,7,5,6] w",
        "float[2,3,11,5,6] y",
        "y = Concat <axis = 2> (x, w)",
    ),
    "matmul": (f"{FIVE}, float[2,1,1,6,2] w", "float[2,3,4,5,2] y", "y = MatMul (x, w)"),
    "matmul-weight": (f"{FIVE}, float[6,2] w", "float[2,3,4,5,2] y", "y = MatMul (x, w)"),
    "slice": (
        FIVE,
        "float[2,2,4,5,6] y",
        "s = Constant <value_ints = [0]> () e = Constant <value_ints = [3]> ()"
        "a = Constant <value_ints = [1]> () k = Constant <value_ints = [2]> ()"
        "y = Slice (x, s, e, a, k)",
    ),
    "expand": (
        "float[2,1,4,1,6] x",
        "float[2,1,4,5,6] y",
        "s = Constant <value_ints = [2,1,4,5,6]> () y = Expand (x, s)",
    ),
    "norm-last": (f"{FIVE}, float[6] w", "float[2,3,4,5,6] y", "y = LayerNormalization (x, w)"),
    "norm-two": (
        f"{FIVE}, float[5,6] w, float[5,6] b",
        "float[2,3,4,5,6] y",
        "y = LayerNormalization <axis = 3> (x, w, b)",
    ),
    "top": (
        FIVE,
        "float[2,3,2,5,6] v, int64[2,3,2,5,6] y",
        "k = Constant <value_ints = [2]> () v, y = TopK <axis = 2> (x, k)",
    ),
    "pick": (
        f"{FIVE}, int64[2,3,2,5,6] i",
        "float[2,3,2,5,6] y",
        "y = GatherElements <axis = 2> (x, i)",
    ),
    "ones": (SIX, "float[2,1,5,4,2,3] y", "y = Transpose <perm = [0,2,5,4,3,1]> (x)"),
}


def model(name: str) -> ir.Model:
    inputs, outputs, nodes = GRAPHS[name]
    made = onnx.parser.parse_model(f"{HEAD}\ng ({inputs}) => ({outputs}) {{ {nodes} }}")
    return ir.from_proto(made)


def run(made: ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(ir.to_proto(made).SerializeToString(), options)
    found: list[np.ndarray] = session.run(None, feeds)
    return found


def feeds_of(made: ir.Model) -> dict[str, np.ndarray]:
    rng = np.random.default_rng()
    found = {}
    for value in made.graph.inputs:
        sizes = [int(size) for size in value.shape or ()]
        whole = value.dtype == ir.DataType.INT64
        array = rng.integers(0, 4, sizes) if whole else rng.uniform(0.5, 2, sizes)
        found[str(value.name)] = array.astype(np.int64 if whole else np.float32)
    return found


@pytest.mark.parametrize("name", GRAPHS)
def test_the_same_numbers_on_at_most_four_axes(name: str) -> None:
    made = model(name)
    feeds = feeds_of(made)
    expected = run(made, feeds)
    to_standard(made)
    between = [
        value
        for node in made.graph
        for value in node.outputs
        if not value.is_graph_output() and len(value.shape or ()) > 4
    ]
    assert not between
    assert all(node.op_type == "Reshape" for node in wide_nodes(made))
    for got, wanted in zip(run(made, feeds), expected, strict=True):
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-6)
    InferShapes().run(made)
    assert NarrowAxes().run(made).matches == 0


def test_names_stay_with_the_nodes() -> None:
    made = model("softmax")
    node = next(iter(made.graph))
    node.metadata_props[MODULE_KEY] = "blocks.0"
    to_standard(made)
    assert {torch_module(other) for other in made.graph} == {"blocks.0"}


def test_what_has_no_form_is_left_with_a_reason() -> None:
    text = f"g ({FIVE}) => (float[2,3,4,5,6] y) {{ y = CumSum (x, a) }}"
    text = text.replace("{ y", "{ a = Constant <value = int64 {4}> () y")
    made = ir.from_proto(onnx.parser.parse_model(f"{HEAD}\n{text}"))
    InferShapes().run(made)
    result = NarrowAxes().run(made)
    assert [miss.reason for miss in result.near_misses] == ["CumSum has no form of at most 4 axes"]
    assert any(is_wide(node) for node in made.graph)


#: Of which merged axes would make other numbers.
UNLIKE = {
    "picks fewer": (
        f"{FIVE}, int64[2,3,2,2,6] i",
        "float[2,3,2,2,6] y",
        "y = GatherElements <axis = 2> (x, i)",
        "its index leaves out places of the data",
    ),
    "scale of one axis": (
        f"{FIVE}, float[6] w",
        "float[2,3,4,5,6] y",
        "y = LayerNormalization <axis = 3> (x, w)",
        "its scale or shift is not of the axes that it normalises",
    ),
    "reduces nothing": (
        FIVE,
        "float[2,3,4,5,6] y",
        "y = ReduceSum <noop_with_empty_axes = 1> (x)",
        "it reduces nothing",
    ),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_what_merged_axes_would_change_is_refused(name: str) -> None:
    inputs, outputs, nodes, reason = UNLIKE[name]
    made = ir.from_proto(
        onnx.parser.parse_model(f"{HEAD}\ng ({inputs}) => ({outputs}) {{ {nodes} }}")
    )
    InferShapes().run(made)
    result = NarrowAxes().run(made)
    assert [miss.reason for miss in result.near_misses] == [reason]


def test_a_mask_with_infinities_is_no_list_of_axes() -> None:
    text = f"g ({FIVE}, float[1,3,1,5,1] m) => (float[2,3,4,5,6] y) {{ y = Add (x, m) }}"
    made = ir.from_proto(onnx.parser.parse_model(f"{HEAD}\n{text}"))
    feeds = feeds_of(made)
    mask = made.graph.inputs.pop()
    feeds["m"][0, 1] = -np.inf
    mask.const_value = ir.tensor(feeds["m"], name="m")
    made.graph.register_initializer(mask)
    expected = feeds["x"] + feeds.pop("m")
    to_standard(made)
    np.testing.assert_array_equal(run(made, feeds)[0], expected)


@settings(max_examples=200, deadline=None)
@given(st.permutations(range(6)), st.lists(st.integers(1, 3), min_size=6, max_size=6))
def test_any_transpose_is_a_chain_of_small_ones(perm: list[int], sizes: list[int]) -> None:
    x = np.arange(prod(sizes)).reshape(sizes)
    expected, found = x.transpose(perm), x
    for form, order in transposes(tuple(sizes), perm):
        assert len(form) <= 4
        found = found.reshape(form).transpose(order)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_a_transpose_that_merges_is_one() -> None:
    """Windows cut out of a map, as the papers' own code does."""
    chain = list(transposes((2, 8, 7, 8, 7, 96), (0, 1, 3, 2, 4, 5)))
    assert chain == [((16, 7, 8, 672), (0, 2, 1, 3))]
    assert all(
        len(list(transposes((2, 3, 4, 5, 6), perm))) <= 4
        for perm in itertools.permutations(range(5))
    )
