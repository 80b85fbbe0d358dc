"""The names, types and refusals of single operations."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("coremltools")

from coreml_graphs import Graph, answers, close, lowered, operations
from rewriting import MODULE, compute

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops.attention import packed
from attnc.compiler.provenance import MODULE_KEY
from attnc.targets.coreml.lower import Lowered
from attnc.targets.coreml.versions import oldest, target_of
from attnc.targets.coreml.writer import Writer, sizes, type_name

IDENTIFIER = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)


def empty(ios: int, half: bool = False, **kept: str) -> tuple[Writer, Any, Any]:
    """A writer, a function to write into, and its input [1,2,4]."""
    from coremltools.converters.mil.mil import Builder, Function, types

    dtype = types.fp16 if half else types.fp32
    place = {"x": Builder.placeholder(shape=(1, 2, 4), dtype=dtype)}
    function = Function(place, opset_version=target_of(ios))
    return Writer(ios, half, kept), function, function.inputs["x"]


@pytest.mark.parametrize(
    ("kind", "ios"), [("relu", 15), ("fill_like", 16), ("scaled_dot_product_attention", 18)]
)
def test_oldest_version_of_an_operation(kind: str, ios: int) -> None:
    assert oldest(kind) == ios


def test_an_operation_that_the_version_lacks() -> None:
    write, function, x = empty(17)
    with function, pytest.raises(UnsupportedError) as caught:
        write("scaled_dot_product_attention", query=x, key=x, value=x)
    assert "iOS 17 has no scaled_dot_product_attention" in caught.value.message
    assert "iOS 18" in caught.value.message
    assert "iOS 18" in caught.value.remedy


def test_an_operation_that_does_not_fit() -> None:
    write, function, x = empty(17)
    with function, pytest.raises(UnsupportedError) as caught:
        write("reshape", x=x, shape=[3, 3])
    assert "does not take this reshape" in caught.value.message
    assert caught.value.where == "the program's input"


def test_a_refusal_names_the_node() -> None:
    graph = Graph()
    cut = graph.op("GatherND", graph.input(2, 3, 5), np.array([[0], [1]]), batch_dims=1)
    with pytest.raises(UnsupportedError) as caught:
        lowered(graph.model(cut), 15)
    assert "iOS 15" in caught.value.message
    assert MODULE in caught.value.where


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (1e5, "a constant of 1e+05 overflows float16 (y)"),
        (-7e4, "a constant of 7e+04 overflows float16 (y)"),
        (1e-5, "a constant of 1e-05 vanishes in float16 (y)"),
        (np.float32(2e-6), "a constant of 2e-06 vanishes in float16 (y)"),
        (np.array([1.0, 1e5], np.float32)[:, None], "a constant of 1e+05 overflows float16 (y)"),
        (
            np.array([1e-5, 2e-6], np.float32)[:, None],
            "a constant of 1e-05 vanishes in float16 (y)",
        ),
    ],
    ids=str,
)
def test_constants_that_float16_does_not_hold(number: Any, reason: str) -> None:
    write, function, x = empty(17, half=True)
    with function:
        y = write("mul", x=x, y=number)
    assert write.wide == {"input_mul_0": reason}
    assert type_name(y) == "fp32"
    np.testing.assert_array_equal(y.op.y.val, np.asarray(number, np.float32))
    assert y.op.x.op.op_type == "cast"


@pytest.mark.parametrize(
    "number",
    [0.0, 6e4, 7e-5, np.inf, -np.inf, -3.4e38, np.array([[1.0], [1e-7]], np.float32)],
    ids=str,
)
def test_constants_that_float16_holds(number: Any) -> None:
    write, function, x = empty(17, half=True)
    with function:
        y = write("add", x=x, y=number)
    assert write.wide == {}
    assert type_name(y) == "fp16"
    assert type_name(y.op.y) == "fp16"


def test_the_lowest_number_is_cut_to_the_lowest_of_its_type() -> None:
    write, function, x = empty(17, half=True)
    with function:
        y = write("add", x=x, y=np.float32(np.finfo(np.float32).min))
    assert float(y.op.y.val) == -65504.0


def test_epsilon_is_no_reason() -> None:
    write, function, x = empty(17, half=True)
    with function:
        y = write("layer_norm", x=x, axes=[-1], epsilon=1e-6)
    assert write.wide == {}
    assert type_name(y) == "fp16"


def test_kept_operations_compute_in_float32() -> None:
    write, function, x = empty(17, half=True, input_relu_1="said so")
    with function:
        first, second = write("relu", x=x), write("relu", x=x)
        third = write("relu", x=second)
    assert [type_name(value) for value in (first, second, third)] == ["fp16", "fp32", "fp16"]
    assert write.wide == {"input_relu_1": "said so"}


def test_integers_and_truths_stay() -> None:
    write, function, x = empty(17, half=True)
    with function:
        index = write("topk", x=x, k=2, axis=-1, ascending=False)[1]
        later = write("add", x=index, y=np.int64(3))
        above = write("greater", x=x, y=0.5)
    assert (type_name(index), type_name(later), type_name(above)) == ("int32", "int32", "bool")
    assert sizes(above) == (1, 2, 4)


def network() -> ir.Model:
    graph = Graph()
    heads = packed(2, 3, 3)
    qkv = graph.linear(graph.tokens(graph.fused_conv(graph.input(1, 5, 3, 4), 6)), 18)
    x = graph.linear(graph.fused("Attention", qkv, qkv, **heads), 6)
    return graph.model(graph.op("Mul", graph.op("Relu", x), np.float32(1e-6)))


def names(made: Lowered) -> dict[str, str]:
    main = made.program["main"]
    return {o.name: o.op_type for o in main.operations if o.op_type not in ("const", "cast")}


@pytest.mark.parametrize("ios", [16, 18])
def test_names_are_those_of_the_other_precision(ios: int) -> None:
    assert names(lowered(network(), ios)) == names(lowered(network(), ios, True))


def test_names_are_the_same_again() -> None:
    assert list(names(lowered(network()))) == list(names(lowered(network())))


@pytest.mark.parametrize(
    "module", ["blocks.0.attn", "0", "stage 1/ä.conv-2", "", "block.1.", "..."]
)
def test_names_are_identifiers(module: str) -> None:
    model = network()
    for node in model.graph:
        node.metadata_props[MODULE_KEY] = module
    made = lowered(model, 17, True)
    for function in made.program.functions.values():
        values = [value.name for o in function.operations for value in o.outputs]
        found = [*function.inputs, *values, *(o.name for o in function.operations)]
        assert [name for name in found if not IDENTIFIER.match(name)] == []


@pytest.mark.parametrize("name", ["x.1", "1", "pixel values", "größe", "-"])
def test_names_of_inputs_and_outputs_are_identifiers(name: str) -> None:
    graph = Graph()
    model = graph.model(graph.op("Relu", graph.input(1, 3, name=name)))
    model.graph.outputs[0].name = f"{name}.out"
    main = lowered(model).program["main"]
    for found in (*main.inputs, *(value.name for value in main.outputs)):
        assert IDENTIFIER.match(found)


def test_inputs_of_one_spelling_stay_apart() -> None:
    graph = Graph()
    both = [graph.input(1, 3, name=name) for name in ("x.1", "x_1")]
    model = graph.model(graph.op("Sub", *both))
    main = lowered(model).program["main"]
    assert len(main.inputs) == 2
    assert main.operations[-1].x is not main.operations[-1].y


def test_an_output_that_is_an_input() -> None:
    graph = Graph()
    x = graph.input(1, 3)
    model = graph.model(graph.op("Relu", x))
    model.graph.outputs.append(x)
    feeds = {"x": np.array([[-1.0, 0.0, 2.0]], np.float32)}
    for got, want in zip(answers(model, feeds), compute(model, feeds), strict=True):
        close(got, want)


def test_a_classifier_whose_logits_are_called_probabilities() -> None:
    graph = Graph()
    model = graph.model(graph.op("Relu", graph.input(1, 3)))
    model.graph.outputs[0].name = "probabilities"
    main = lowered(model, classifier=True).program["main"]
    assert [value.name for value in main.outputs] == ["probabilities", "probabilities_1"]


def test_origins_name_node_and_module() -> None:
    made = lowered(network())
    assert {made.origins[name].module for name in names(made)} == {MODULE}
    assert {made.origins[name].node for name in names(made)} > {"FusedConv block/0"}


def test_an_output_under_two_names() -> None:
    graph = Graph()
    x = graph.input(1, 3)
    y = graph.op("Relu", x)
    same = graph.op("Identity", y)
    made = lowered(graph.model(y, same))
    assert [value.name for value in made.program["main"].outputs] == ["y0", "y1"]
    assert operations(made)["relu"] == 1
