"""Nodes alone: errors are found where they arise, in as little memory as is allowed."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import Builder

from attnc.runtimes.proof import nodes
from attnc.runtimes.proof.blocks import block_of
from attnc.runtimes.proof.nodes import Observed, error_of, first_wrong_node, observe


def network() -> ir.Model:
    b = Builder()
    x = b.input(1, 5, 8)
    y = b.op("Softmax", b.op("MatMul", x, b.random(8, 8)), axis=-1)
    return b.model(b.op("Add", b.op("Mul", y, b.random(8)), x))


def feed() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng().standard_normal((1, 5, 8)).astype(np.float32)}


@pytest.mark.parametrize("memory", [1, 400, 1 << 20])
def test_every_node_with_what_reached_it(memory: int) -> None:
    given = feed()
    seen = list(observe(network(), None, given, memory=memory))
    assert [one.node.op_type for one in seen] == ["MatMul", "Softmax", "Mul", "Add"]
    np.testing.assert_array_equal(seen[0].inputs[0], given["x"])
    for before, after in itertools.pairwise(seen):
        np.testing.assert_array_equal(before.outputs[0], after.inputs[0])
    assert first_wrong_node(network(), None, given) is None


@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_as_many_runs_as_memory_asks_for(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    values = nodes._values
    monkeypatch.setattr(nodes, "_values", lambda *a: (runs.append(len(a[3])), values(*a))[1])
    list(observe(network(), None, feed(), memory=memory))
    assert len(runs) == (4 if memory == 1 else 1)


def wrong(seen: Observed, change) -> float:
    output = seen.outputs[0].copy()
    change(output)
    return error_of(Observed(seen.node, seen.inputs, (output,)), {"": 20})


def test_an_error_is_that_of_the_node_alone() -> None:
    seen = list(observe(network(), None, feed()))[1]
    assert wrong(seen, lambda y: None) < 1e-6
    assert wrong(seen, lambda y: y.__setitem__((0, 4), y[0, 3])) > 1e-4
    assert wrong(seen, lambda y: y.__setitem__((0, 0, 0), np.nan)) == np.inf
    assert wrong(seen, lambda y: y.__imul__(1.001)) > 1e-4


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("blocks.3.attn.qkv", "blocks.3"),
        ("stages.1.blocks.0.mlp", "stages.1.blocks.0"),
        ("head", "head"),
        ("net.layers", "net"),
    ],
)
def test_blocks(module: str, block: str) -> None:
    assert block_of(module) == block
