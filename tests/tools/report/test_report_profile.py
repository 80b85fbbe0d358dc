"""Which module a node belongs to, when ONNX Runtime fused it or made it up; what a node costs."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.compiler.ops.registry import make_node
from attnc.compiler.provenance import MODULE_KEY, SOURCE_KEY
from attnc.tools.report.roofline import ceilings, cost_of
from attnc.tools.report.session_profile import Timed, attribute


def named(node: ir.Node, name: str, module: str) -> ir.Node:
    node.name = name
    node.metadata_props[MODULE_KEY] = module
    for place, value in enumerate(node.outputs):
        value.name = f"{name}.out{place}"
    return node


@pytest.fixture
def model() -> ir.Model:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1, 4]))
    first = named(ir.node("Neg", [x]), "first", "a.b")
    second = named(ir.node("Relu", first.outputs), "second", "a.c")
    graph = ir.Graph([x], second.outputs, nodes=[first, second], opset_imports={"": 20})
    return ir.Model(graph, ir_version=9)


def timed(name: str, operator: str) -> Timed:
    return Timed(name, operator, 1.0, (), ())


def test_a_node_is_found_by_its_name(model: ir.Model) -> None:
    node = timed("first", "Neg")
    attribute([node], model, {})
    assert node.module == "a.b"
    assert node.node is model.graph[0]


def test_a_node_that_was_fused_is_found_by_what_it_makes(model: ir.Model) -> None:
    node = timed("fused of both", "FusedNeg")
    attribute([node], model, {"fused of both": (["x"], ["second.out0"])})
    assert node.module == "a.c"
    assert node.node is None


def test_a_node_that_was_inserted_is_found_by_what_it_reads(model: ir.Model) -> None:
    node = timed("reorder", "ReorderOutput")
    attribute([node], model, {"reorder": (["first.out0"], ["of its own"])})
    assert node.module == "a.b"


def test_a_node_that_comes_from_nowhere_has_no_module(model: ir.Model) -> None:
    node = timed("mystery", "Identity")
    attribute([node], model, {})
    assert node.module == ""


def test_a_node_of_several_modules_belongs_to_the_model(model: ir.Model) -> None:
    props = model.graph[0].metadata_props
    del props[MODULE_KEY]
    props[SOURCE_KEY] = "net.py:3"
    node = timed("first", "Neg")
    attribute([node], model, {})
    assert node.module == "(the model itself)"


def test_costs_are_those_of_the_operator() -> None:
    weight, bias = (ir.Value(name=name) for name in "wb")
    x = ir.Value(name="x")
    node = Timed("l", "Linear", 10.0, ((2, 5, 8), (16, 8), (16,)), ((2, 5, 16),))
    node.node = make_node("Linear", [x, weight, bias], {"min": NO_MIN, "max": NO_MAX})
    found = cost_of(node)
    assert found is not None
    assert found.flops == 2 * 2 * 5 * 8 * 16
    node.shapes = node.shapes[:1]  # the profiler did not list the rest
    assert cost_of(node) is None


def test_standard_operators_have_no_cost_here() -> None:
    node = Timed("n", "Neg", 1.0, ((4,),), ((4,),))
    node.node = ir.node("Neg", [ir.Value(name="x")])
    assert cost_of(node) is None


def test_ceilings_are_measured_once() -> None:
    assert ceilings(1) == ceilings(1)
    assert min(ceilings(1)) > 0
