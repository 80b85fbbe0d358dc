"""Every operator's function body, run by ONNX Runtime alone, against its float64 reference."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from attnc.compiler.ops import registry
from attnc.compiler.ops.base import DOMAIN, Example, Operator

CASES = [
    pytest.param(operator, index, id=f"{operator.name}-{example.label}")
    for operator in registry.OPERATORS
    for index, example in enumerate(operator.examples(np.random.default_rng(0)))
]


def tensor_type(array: np.ndarray) -> ir.TensorType:
    """As the operators have it: the references compute in float64 for float32."""
    double = array.dtype == np.float64
    return ir.TensorType(ir.DataType.FLOAT if double else ir.DataType.from_numpy(array.dtype))


def single_node_model(operator: Operator, example: Example) -> bytes:
    """A model of one node, all inputs fed from outside."""
    inputs = [
        ir.Value(name=name, shape=ir.Shape(array.shape), type=tensor_type(array))
        for name, array in zip(operator.inputs, example.inputs, strict=True)
    ]
    node = registry.make_node(operator.name, inputs, example.attributes)
    results = operator.results(example)
    for name, value, array in zip(operator.outputs, node.outputs, results, strict=True):
        value.name, value.type = name, tensor_type(array)
    graph = ir.Graph(inputs, node.outputs, nodes=[node], opset_imports={"": 20, DOMAIN: 1})
    model = ir.Model(graph, ir_version=9)
    registry.attach_functions(model)
    return ir.serde.serialize_model(model).SerializeToString()


@pytest.mark.parametrize(("operator", "index"), CASES)
def test_body_computes_the_reference(operator: Operator, index: int) -> None:
    example = operator.examples(np.random.default_rng())[index]
    session = ort.InferenceSession(
        single_node_model(operator, example), providers=["CPUExecutionProvider"]
    )
    feeds = dict(zip(operator.inputs, example.inputs, strict=True))
    shapes = [array.shape for array in example.inputs]
    sizes = operator.output_shapes(shapes, example.attributes)
    for got, want, size in zip(
        session.run(None, feeds), operator.results(example), sizes, strict=True
    ):
        assert got.shape == want.shape == size
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * max(1.0, np.abs(want).max()))


@pytest.mark.parametrize("operator", registry.OPERATORS, ids=lambda operator: operator.name)
def test_cost_counts_something(operator: Operator) -> None:
    for example in operator.examples(np.random.default_rng(0)):
        cost = operator.cost([array.shape for array in example.inputs], example.attributes)
        assert (cost.flops > 0) == (operator.name not in ("MapToNhwc", "MapToNchw"))
        assert cost.bytes >= sum(array.nbytes for array in example.inputs)


def test_node_with_a_missing_attribute_is_refused() -> None:
    with pytest.raises(ValueError, match="FusedConv takes"):
        registry.make_node("FusedConv", [None, None, None], {"min": 0.0})
