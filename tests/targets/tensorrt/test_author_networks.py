"""Networks that this repository did not write, for every kind of profile and precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import author_networks
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from author_networks import AUTHORS, ONE_EACH, emitted
from onnx import defs
from rewriting import compute, counts, distance, random_feeds
from tensorrt_graphs import FLOATS, plugins_of

from attnc.compiler.ops.base import DOMAIN
from attnc.runtimes.tensorrt.parity import runner
from attnc.targets.tensorrt.emit import Choice

#: Profile, precision, opset of the model file, whether it has the operator Attention.
KINDS = [
    ("rtx4090", "fp32", 20, False),
    ("rtx4090", "fp16", 23, True),
    ("rtx4090", "bf16", 23, True),
    ("h100", "fp16", 23, True),
    ("orin-agx-jp6", "fp32", 18, False),
    ("orin-agx-jp6", "fp16", 18, False),
]
LIMITS = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 1e-1}
SOME_SLOW = [
    pytest.param(name, marks=[] if name in ONE_EACH else pytest.mark.slow) for name in AUTHORS
]
TYPES = {
    "fp32": ir.DataType.FLOAT,
    "fp16": ir.DataType.FLOAT16,
    "bf16": ir.DataType.BFLOAT16,
}


def check_types(model: ir.Model, precision: str) -> None:
    """TensorRT builds strongly typed: what a schema calls T is of one type in a node."""
    version = model.graph.opset_imports[""]
    for node in model.graph:
        if node.domain == DOMAIN:
            held = [v for v in (*node.inputs, *node.outputs) if v.dtype in FLOATS]
            assert {v.dtype for v in held} == {TYPES[precision]}, node
            continue
        schema, seen = defs.get_schema(node.op_type, version), dict[str, set[Any]]()
        for values, places in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
            for index, value in enumerate(values):
                if value is not None and value.dtype in FLOATS:
                    kind = places[min(index, len(places) - 1)].type_str
                    seen.setdefault(kind, set()).add(value.dtype)
        assert all(len(kinds) == 1 for kinds in seen.values()), (node, seen)


@pytest.mark.parametrize(("profile", "precision", "opset", "operator"), KINDS)
@pytest.mark.parametrize("name", SOME_SLOW)
def test_every_author_for_every_kind(
    tmp_path: Path, name: str, profile: str, precision: str, opset: int, operator: bool
) -> None:
    author = AUTHORS[name]
    emission, path = emitted(name, tmp_path, profile, precision)
    onnx.checker.check_model(path, full_check=True)
    model = ir.load(path)
    assert model.graph.opset_imports[""] == opset
    assert {function.opset_imports[""] for function in model.functions.values()} <= {opset}
    assert plugins_of(model) == author.plugins
    assert emission.plugins == tuple(sorted(author.plugins))
    found = counts(model)
    assert found.get("Attention", 0) == (author.attentions if operator else 0)
    assert opset >= 20 or "Gelu" not in found
    check_types(model, precision)
    assert all(node.name for node in model.graph)
    feeds = random_feeds(author_networks.source(name), 2)
    want = compute(author_networks.source(name), feeds)[0]
    got = runner(path, precision)(*feeds.values())
    if not author.ranks or precision == "fp32":
        assert distance([got], [want]) <= LIMITS[precision]
    else:  # near-ties turn: most rows are right
        off = np.abs(got - want) / np.abs(want).max()
        assert np.median(off) <= LIMITS[precision]


@pytest.mark.parametrize("name", ONE_EACH)
def test_bodies_in_place_of_all_plugins(tmp_path: Path, name: str) -> None:
    author = AUTHORS[name]
    semantic = {node.op_type for node in author_networks.semantic(name).graph}
    choice = Choice(bodies=frozenset(semantic))
    emission, path = emitted(name, tmp_path, "rtx4090", "fp16", choice)
    model = ir.load(path)
    assert emission.plugins == ()
    assert plugins_of(model) == {}
    assert not model.functions
    onnx.checker.check_model(path, full_check=True)
    check_types(model, "fp16")
    feeds = random_feeds(author_networks.source(name), 2)
    want = compute(author_networks.source(name), feeds)[0]
    off = np.abs(runner(path, "fp16")(*feeds.values()) - want) / np.abs(want).max()
    assert (np.median(off) if author.ranks else off.max()) <= LIMITS["fp16"]


@pytest.mark.parametrize("name", ["glnet_dynamic", "tic_einsum"])
def test_bfloat16_without_the_operator_attention_is_still_bfloat16(
    tmp_path: Path, name: str
) -> None:
    choice = Choice(attention_operator=False)
    _, path = emitted(name, tmp_path, "rtx4090", "bf16", choice)
    model = ir.load(path)
    assert model.graph.opset_imports[""] == 22
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    assert convolutions
    assert {node.outputs[0].dtype for node in convolutions} == {ir.DataType.BFLOAT16}


@pytest.mark.parametrize("name", ["glnet_dynamic", "evit_chunk_dynamic"])
def test_the_same_bytes_twice(tmp_path: Path, name: str) -> None:
    data = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        data.append(emitted(name, folder, "rtx4090", "fp16")[1].read_bytes())
    assert data[0] == data[1]


def test_a_plugin_that_must_stay_float32_becomes_its_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "glnet_dynamic"

    def large(lowered: ir.Model) -> dict[str, float]:
        (node,) = [node for node in lowered.graph if node.op_type == "PooledSlotCluster"]
        return {str(node.inputs[1].name): 60000.0}

    monkeypatch.setattr(author_networks, "_ranges", large)
    emission, path = emitted(name, tmp_path, "rtx4090", "fp16")
    assert "PooledSlotCluster" not in emission.plugins
    assert any(
        "its body stands, not its plugin" in miss.reason for miss in emission.float32_regions
    )
    onnx.checker.check_model(path, full_check=True)
    check_types(ir.load(path), "fp16")
    feeds = random_feeds(author_networks.source(name), 2)
    want = compute(author_networks.source(name), feeds)[0]
    assert distance([runner(path, "fp16")(*feeds.values())], [want]) <= LIMITS["fp16"]
