"""Every fused operator as PyTorch, on its hard inputs, against its float64 reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops.base import DOMAIN, Example, Operator
from attnc.compiler.ops.registry import SEMANTIC, make_node
from attnc.targets.torch_forms.network import FORMS, Network, network

#: Inputs that a model computes; the others are weights.
LIVE = frozenset({"x", "qkv", "logits", "query", "memory", "slots", "r", "index", "weights"})
LIVE |= {"active"}
#: Of equal scores PyTorch keeps any.
TIES = {("SelectTokens", "ties"), ("SelectTokens", "equal_scores")}


def value_of(name: str, array: np.ndarray) -> ir.Value:
    kind = ir.TensorType(ir.DataType.from_numpy(array.dtype))
    return ir.Value(name=name, shape=ir.Shape(array.shape), type=kind)


def alone(operator: Operator, example: Example) -> tuple[Network, list[np.ndarray]]:
    """The operator as a network, and what it is fed with."""
    values, fed = [], []
    for name, given in zip(operator.inputs, example.inputs, strict=False):
        array = np.ascontiguousarray(given)
        value = value_of(name, array)
        if name not in LIVE:
            value.const_value = ir.tensor(array, name=name)
        else:
            fed.append((value, array))
        values.append(value)
    node = make_node(operator.name, values, example.attributes)
    shapes = operator.output_shapes(
        [a.shape for a in map(np.asarray, example.inputs)], example.attributes
    )
    for index, (made, shape) in enumerate(zip(node.outputs, shapes, strict=True)):
        made.name, made.shape = f"out{index}", ir.Shape(shape)
    weights = [value for value in values if value.const_value is not None]
    graph = ir.Graph(
        [value for value, _ in fed],
        node.outputs,
        nodes=[node],
        initializers=weights,
        opset_imports={"": 20, DOMAIN: 1},
    )
    return network(ir.Model(graph, ir_version=9)), [array for _, array in fed]


def settled(operator: Operator, example: Example, shape: Any) -> np.ndarray:
    """The elements that no near-tie turns: all predictions of a pruned token are equal."""
    if operator.discontinuous is None:
        return np.ones(shape, bool)
    found = operator.discontinuous.settled(example.inputs, example.attributes)
    if "active" in operator.inputs and not example.attributes["prune_rows"]:
        found = found & (np.asarray(example.inputs[-1]) > 0)[:, :, None]
    return found


def test_every_semantic_operator_has_a_form() -> None:
    assert {operator.name for operator in SEMANTIC} == set(FORMS)


@pytest.mark.parametrize("operator", SEMANTIC, ids=lambda operator: operator.name)
def test_form_against_reference(operator: Operator) -> None:
    compared = 0
    for example in operator.examples(np.random.default_rng()):
        if (operator.name, example.label) in TIES:
            continue
        module, fed = alone(operator, example)
        with torch.no_grad():
            found = module.steps[0](*map(torch.from_numpy, fed))
        found = found if isinstance(found, tuple) else (found,)
        for got, wanted in zip(found, operator.results(example), strict=True):
            assert got.shape == wanted.shape, example.label
            where = settled(operator, example, wanted.shape)
            limit = 2e-5 * max(1.0, float(np.abs(wanted).max(initial=0)))
            difference = np.abs(got.numpy() - wanted)[where]
            assert difference.max(initial=0) <= limit, example.label
            compared += difference.size
    assert compared > 100


def graph_of(*nodes: ir.Node, x: ir.Value) -> ir.Model:
    graph = ir.Graph([x], nodes[-1].outputs, nodes=list(nodes), opset_imports={"": 20})
    return ir.Model(graph, ir_version=9)


def test_unknown_operator_is_refused_by_node_and_module() -> None:
    x = value_of("x", np.zeros((1, 3, 8, 8), np.float32))
    node = ir.node("Det", [x], name="strange")
    node.outputs[0].name, node.outputs[0].shape = "y", ir.Shape([1, 3])
    node.metadata_props["attnc.module"] = "head.gate"
    node.metadata_props["attnc.source"] = "net.py:7"
    with pytest.raises(UnsupportedError, match="Det") as caught:
        network(graph_of(node, x=x))
    for part in ("strange", "head.gate", "net.py:7"):
        assert part in caught.value.where
    assert caught.value.remedy


def test_free_sizes_are_refused() -> None:
    x = value_of("x", np.zeros((1, 3), np.float32))
    x.shape = ir.Shape(["batch", 3])
    node = ir.node("Relu", [x])
    node.outputs[0].name, node.outputs[0].shape = "y", ir.Shape(["batch", 3])
    with pytest.raises(UnsupportedError, match="not known") as caught:
        network(graph_of(node, x=x))
    assert "--batch N" in caught.value.remedy
