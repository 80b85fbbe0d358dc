"""What no ML Program can express is refused by name, with the place and a way out."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

pytest.importorskip("coremltools")

from coreml_graphs import Graph, lowered
from rewriting import MODULE

from attnc.compiler.errors import UnsupportedError
from attnc.targets.coreml.checks import check_model

BRANCH = """
<ir_version: 10, opset_import: ["": 20]>
branch (float[1,4] x) => (float[1,4] y)
<bool go = {1}>
{
  y = If (go) <then_branch = then () => (float[1,4] a) { a = Relu (x) },
               else_branch = other () => (float[1,4] b) { b = Neg (x) }>
}
"""


def refusal(model: ir.Model) -> UnsupportedError:
    with pytest.raises(UnsupportedError) as caught:
        check_model(model)
    assert len(caught.value.remedy) > 10
    return caught.value


@pytest.mark.parametrize(
    "sizes", [(None, 3, 8, 8), ("n", 3, "n", 8), (1, 3, "height", "width"), (1, None)], ids=str
)
def test_sizes_that_are_not_fixed(sizes: tuple[int | str | None, ...]) -> None:
    graph = Graph()
    error = refusal(graph.model(graph.op("Relu", graph.input(*sizes, name="picture"))))
    assert "'picture' has a size that is not fixed" in error.message
    assert "--batch" in error.remedy
    assert "--image-size" in error.remedy


def test_a_second_input_of_free_size() -> None:
    graph = Graph()
    fixed, free = graph.input(1, 4), graph.input("n", 4, name="others")
    error = refusal(graph.model(graph.op("Add", fixed, free)))
    assert "'others'" in error.message


def test_an_input_of_unknown_rank() -> None:
    graph = Graph()
    x = graph.input(1, 4, name="anything")
    model = graph.model(graph.op("Relu", x))
    x.shape = None
    assert "'anything'" in refusal(model).message


def test_a_single_number_as_input() -> None:
    graph = Graph()
    error = refusal(graph.model(graph.op("Mul", graph.input(name="factor"), graph.random(3))))
    assert "'factor' is a single number" in error.message
    assert "axis" in error.remedy


def test_a_branch() -> None:
    error = refusal(ir.from_proto(onnx.parser.parse_model(BRANCH)))
    assert "If has a branch or loop inside" in error.message
    assert "If" in error.where


@pytest.mark.parametrize("axes", [5, 6])
def test_more_than_five_axes(axes: int) -> None:
    graph = Graph()
    sizes = [1] * (axes - 2) + [2, 3]
    many = graph.shaped("Reshape", sizes, graph.input(2, 3), np.array(sizes))
    model = graph.model(graph.shaped("Relu", sizes, many))
    if axes == 5:
        check_model(model)
        return
    error = refusal(model)
    assert "6 axes" in error.message
    assert MODULE in error.where


def test_types_that_no_input_has() -> None:
    graph = Graph()
    x = graph.input(1, 4, name="wide", dtype=ir.DataType.DOUBLE)
    with pytest.raises(UnsupportedError, match="wide") as caught:
        lowered(graph.model(graph.op("Relu", x)))
    assert "float32" in caught.value.remedy


def test_an_operator_without_a_form() -> None:
    graph = Graph()
    value = graph.op("Det", graph.input(2, 3, 3))
    value.shape, value.type = ir.Shape([2]), ir.TensorType(ir.DataType.FLOAT)
    with pytest.raises(UnsupportedError, match="the operator Det has no form") as caught:
        lowered(graph.model(value))
    assert MODULE in caught.value.where


def test_an_operator_of_another_domain() -> None:
    graph = Graph()
    graph.graph.opset_imports["com.example"] = 1
    value = graph.op("Relu", graph.input(2, 3))
    value.shape, value.type = ir.Shape([2, 3]), ir.TensorType(ir.DataType.FLOAT)
    model = graph.model(value)
    value.producer().domain = "com.example"  # type: ignore[union-attr]
    with pytest.raises(UnsupportedError, match=r"com\.example::Relu"):
        lowered(model)
