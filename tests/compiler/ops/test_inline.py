"""A body in the place of its operator computes the same, under the same names."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from attnc.compiler.ops.base import BODY_OPSET, Operator
from attnc.compiler.ops.inline import inline_body
from attnc.compiler.ops.registry import OPERATORS, attach_functions, make_node
from attnc.compiler.provenance import MODULE_KEY, torch_module


def model_of(operator: Operator) -> tuple[ir.Model, dict[str, Any]]:
    example = operator.examples(np.random.default_rng(0))[0]
    values, feed = [], {}
    for name, given in zip(operator.inputs, example.inputs, strict=False):
        array = given.astype(np.float32) if given.dtype == np.float64 else given
        kind = ir.TensorType(ir.tensor(array).dtype)
        values.append(ir.Value(name=name, type=kind, shape=ir.Shape(array.shape)))
        feed[name] = array
    outputs = [ir.Value(name=f"out_{name}") for name in operator.outputs]
    metadata = {MODULE_KEY: "blocks.0"}
    node = make_node(
        operator.name,
        values,
        example.attributes,
        name="it",
        outputs=outputs,
        metadata_props=metadata,
    )
    for output, array in zip(outputs, operator.results(example), strict=True):
        wide = ir.DataType.INT64 if np.issubdtype(array.dtype, np.integer) else ir.DataType.FLOAT
        output.type, output.shape = ir.TensorType(wide), ir.Shape(array.shape)
    graph = ir.Graph(values, outputs, nodes=[node], opset_imports={"": BODY_OPSET}, name="g")
    model = ir.Model(graph, ir_version=9)
    attach_functions(model)
    return model, feed


def run(model: ir.Model, feed: dict[str, Any]) -> list[Any]:
    session = ort.InferenceSession(ir.serde.serialize_model(model).SerializeToString())
    return list(session.run(None, feed))


def test_names_that_are_taken_are_left_alone() -> None:
    operator = OPERATORS[0]
    model, feed = model_of(operator)
    other, _ = model_of(operator)
    inline_body(other.graph.node(0))
    taken = next(value.name for node in other.graph for value in node.outputs)
    expected = run(model, feed)
    first = model.graph.inputs[0]
    also = ir.node("Neg", [first], name="also")
    also.outputs[0].name = taken
    model.graph.insert_before(model.graph[0], also)
    inline_body(next(node for node in model.graph if node.domain))
    names = [value.name for node in model.graph for value in node.outputs]
    assert len(names) == len(set(names))
    assert taken in names
    for ours, theirs in zip(run(model, feed), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)
def test_the_same_outputs_without_the_function(operator: Operator) -> None:
    model, feed = model_of(operator)
    expected = run(model, feed)
    inline_body(model.graph.node(0))
    model.functions.clear()
    model.graph.opset_imports.pop("attnc")
    assert all(node.domain == "" for node in model.graph)
    assert {torch_module(node) for node in model.graph} == {"blocks.0"}
    assert [value.name for value in model.graph.outputs] == [f"out_{n}" for n in operator.outputs]
    for ours, theirs in zip(run(model, feed), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
