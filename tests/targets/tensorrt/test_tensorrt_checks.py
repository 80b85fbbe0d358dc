"""What TensorRT's parser would refuse: one error that names node, module, line and what to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import MODULE, SOURCE
from tensorrt_graphs import PLAIN, Graph

from attnc.compiler.errors import UnsupportedError
from attnc.targets.tensorrt.checks import MOST_CHOSEN, UNKNOWN, check_model
from attnc.targets.tensorrt.lower import lower

INT64 = ir.DataType.INT64


def top_k(g: Graph, count: int) -> ir.Value:
    return g.ops("TopK", g.input("n", 5000), np.array([count]), outputs=2, axis=1)[0]


def computed_k(g: Graph) -> ir.Value:
    x = g.input("n", 9)
    return g.ops("TopK", x, g.op("Neg", g.input(1, name="k", dtype=INT64)), outputs=2, axis=1)[0]


def scatter(g: Graph, reduction: str, op_type: str = "ScatterElements") -> ir.Value:
    x, index = g.input(4, 5), np.zeros((1, 2), np.int64)
    updates = np.ones((1, 2) if op_type == "ScatterElements" else (1,), np.float32)
    return g.op(op_type, x, index, updates, reduction=reduction)


def resize(g: Graph, antialias: int) -> ir.Value:
    sizes = np.array([1, 3, 8, 8])
    x = g.input(1, 3, 16, 16)
    return g.op("Resize", x, None, None, sizes, mode="linear", antialias=antialias)


def unknown(g: Graph) -> ir.Value:
    return g.op("Det", g.input("n", 3, 3))


def foreign(g: Graph) -> ir.Value:
    x = g.input("n", 3)
    node = ir.node("FusedGemm", [x], domain="com.microsoft", num_outputs=1)
    node.metadata_props.update({"attnc.module": MODULE, "attnc.source": SOURCE})
    g.graph.append(node)
    g.graph.opset_imports["com.microsoft"] = 1
    return node.outputs[0]


@pytest.mark.parametrize(
    ("make", "reason", "remedy"),
    [
        (lambda g: top_k(g, MOST_CHOSEN + 1), "TopK's K is 3841", "keep fewer tokens"),
        (computed_k, "K is computed", "choose a fixed number"),
        (unknown, "does not know the operator Det", "with other operators"),
        (foreign, "com.microsoft::FusedGemm is not standard", "as standard operators"),
        (lambda g: scatter(g, "add"), "ScatterElements with reduction add", "gather and add"),
        (lambda g: scatter(g, "max", "ScatterND"), "ScatterND with reduction max", "gather"),
        (lambda g: resize(g, 1), "Resize with antialias", "without antialias"),
    ],
)
def test_what_the_parser_refuses(
    make: Callable[[Graph], ir.Value], reason: str, remedy: str
) -> None:
    g = Graph()
    out = make(g)
    out.producer().name = "stem/the_node"
    model = g.model(out)
    with pytest.raises(UnsupportedError) as caught:
        check_model(model)
    said = caught.value.render()
    assert f"TensorRT cannot run this node: {reason}" in said or reason in said
    for part in ("stem/the_node", MODULE, SOURCE, remedy):
        assert part in said, said


@pytest.mark.parametrize(
    "make",
    [
        lambda g: top_k(g, MOST_CHOSEN),
        lambda g: scatter(g, "none"),
        lambda g: resize(g, 0),
    ],
)
def test_what_it_takes(make: Callable[[Graph], ir.Value]) -> None:
    g = Graph()
    model = g.model(make(g))
    lower(model, PLAIN)
    check_model(model)


def test_bodies_of_control_flow_are_looked_into() -> None:
    inner = Graph()
    out = unknown(inner)
    inner.graph.outputs.append(out)
    (held,) = list(inner.graph.inputs)
    inner.graph.inputs.remove(held)
    g = Graph()
    x = g.input(2, 3, 3)
    out.producer().replace_input_with(0, x)
    inner.graph.name = "then"
    other = Graph()
    other.graph.name = "other"
    other.graph.outputs.append(other.op("ReduceSum", x, np.array([1, 2]), keepdims=0))
    choice = g.input(name="c", dtype=ir.DataType.BOOL)
    value = g.op("If", choice, then_branch=inner.graph, else_branch=other.graph)
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([2])
    g.graph.outputs.append(value)
    with pytest.raises(UnsupportedError, match="Det"):
        check_model(ir.Model(g.graph, ir_version=9))


def test_the_list_of_unknown_operators_is_of_real_ones() -> None:
    from onnx import defs

    assert {schema.name for schema in defs.get_all_schemas()} >= UNKNOWN
