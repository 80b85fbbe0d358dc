"""The pipeline's records and hashes, and the list of passes."""

from __future__ import annotations

import json

import numpy as np
import onnx_ir as ir
from rewriting import Builder

from attnc.compiler.graph_hash import graph_hash
from attnc.compiler.pipeline import Pass, run_pipeline
from attnc.compiler.provenance import MODULE_KEY
from attnc.passes import pipelines
from attnc.passes.registry import passes


def _model(*, weight: float = 1.0, stride: int = 1, wide: bool = True) -> ir.Model:
    b = Builder()
    x = b.input("n", 3, 6, 6)
    w = b.random(4, 3, 3, 3)
    w[0, 0, 0, 0] = weight
    y = b.op("Relu", b.op("Conv", x, w, strides=[stride, stride], group=1))
    z = b.op("Exp", b.op("Sin", x)) if wide else b.op("Exp", x)
    return b.model(y, z)


def test_hash_sees_weights_attributes_and_wiring() -> None:
    models = [_model(), _model(weight=2.0), _model(stride=2), _model(wide=False)]
    assert len({graph_hash(model) for model in models}) == 4


def test_hash_does_not_see_names_order_or_metadata() -> None:
    one, two = _model(), _model()
    for index, node in enumerate(two.graph):
        node.name = f"other{index}"
        node.metadata_props[MODULE_KEY] = "elsewhere"
        node.attributes.update({k: node.attributes.pop(k) for k in reversed([*node.attributes])})
    for value in list(two.graph.initializers.values()):
        value.name = f"w_{value.name}"
    last = next(node for node in two.graph if node.op_type == "Sin")
    two.graph.remove(last)
    two.graph.insert_before(next(iter(two.graph)), last)
    assert [n.op_type for n in one.graph] != [n.op_type for n in two.graph]
    assert graph_hash(one) == graph_hash(two)


def test_hash_sees_the_names_of_outputs() -> None:
    one, two = _model(), _model()
    two.graph.outputs[0].name = "logits"
    assert graph_hash(one) != graph_hash(two)


def test_records_are_the_same_every_time_but_for_the_seconds() -> None:
    one = run_pipeline(_model(), pipelines.default())
    two = run_pipeline(_model(), pipelines.default())
    assert [record.to_json() for record in one] == [record.to_json() for record in two]
    assert one == two
    text = json.dumps([record.to_json() for record in one])
    assert "seconds" not in text


def test_records_count_nodes_and_matches() -> None:
    records = {r.name: r for r in run_pipeline(_model(), pipelines.default())}
    fused = records["fuse_conv"]
    assert (fused.matches, fused.nodes_before, fused.nodes_after) == (1, 4, 3)
    assert records["canonical_conv"].matches == 1
    assert fused.graph_hash != records["canonical_conv"].graph_hash
    assert fused.graph_hash == records["dead_code"].graph_hash


def test_near_misses_say_where_and_why() -> None:
    b = Builder()
    model = b.model(b.op("Softmax", b.input("n", 4), axis=-1))
    records = {r.name: r for r in run_pipeline(model, pipelines.default())}
    (miss,) = records["fuse_single_head_attention"].near_misses
    assert "scores" in miss.reason
    assert (miss.module, miss.source) == ("stem.block", "net.py:7")
    assert miss.node.startswith("Softmax")


def test_all_passes_are_listed_with_a_reason() -> None:
    listed = passes()
    assert set(listed) >= {step.name for step in pipelines.default()}
    for name, step in listed.items():
        assert isinstance(step, Pass)
        assert step.name == name
        assert step.reason


def test_an_empty_model_passes_through() -> None:
    b = Builder()
    model = b.model(b.op("Identity", b.input(2, 3)))
    run_pipeline(model, pipelines.default())
    assert len(model.graph) == 1


def test_new_values_never_take_a_used_name() -> None:
    b = Builder()
    x = b.input("n", 6, 4, 4)
    y = b.op("GlobalAveragePool", b.op("Relu", x))
    y = b.op("Reshape", y, np.array([0, -1]))
    model = b.model(b.op("MatMul", y, b.random(6, 3)))
    for index, value in enumerate(list(model.graph.initializers.values())):
        value.name = f"y0_part{index}"
    run_pipeline(model, pipelines.default())
    names = [v.name for n in model.graph for v in n.outputs] + list(model.graph.initializers)
    assert len(names) == len(set(names))
