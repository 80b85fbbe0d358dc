"""torch's MultiheadAttention as its two exporters write it: one Attention, and no Transposes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from evit_variations import export_tokens
from rewriting import Builder, compute, counts, distance, rewrite
from torch import nn

from attnc.compiler.pipeline import run_pipeline
from attnc.passes import pipelines
from attnc.passes.canonical.batch_second import CanonicalBatchSecond
from attnc.passes.canonical.linear import CanonicalLinear
from attnc.passes.clean.identity import RemoveIdentity

TOKENS, DIM = 10, 32


class Layer(nn.Module):
    """A pre-norm attention layer of a transformer that keeps its batch first or second."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, 8)
        self.attention = nn.MultiheadAttention(DIM, 4, batch_first=batch_first)
        nn.init.normal_(self.attention.in_proj_bias)
        nn.init.normal_(self.attention.out_proj.bias)
        self.turns = not batch_first

    def forward(self, x):
        h = self.norm(x)
        h = h.transpose(0, 1) if self.turns else h
        h = self.attention(h, h, h, need_weights=False)[0]
        return self.head(x + (h.transpose(0, 1) if self.turns else h))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_it_becomes_three_operators(batch_first: bool, exporter: str, batch: int) -> None:
    with torch.random.fork_rng(devices=[]):
        network = Layer(batch_first).eval()  # with gradients: else another, fused path is taken
    proto = onnx.load_from_string(export_tokens(network, (batch, TOKENS, DIM), exporter))
    model, original = (ir.serde.deserialize_model(proto) for _ in range(2))
    run_pipeline(model, pipelines.default())
    assert counts(model) == {"NormLinear": 1, "Attention": 1, "LinearAdd": 1, "Linear": 1}
    x = np.random.default_rng(0).standard_normal((batch, TOKENS, DIM), np.float32)
    feeds = {model.graph.inputs[0].name: x}
    assert distance(compute(model, feeds), compute(original, feeds)) <= 1e-5


def _swap(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("Transpose", x, perm=[1, 0, 2])


def test_transposes_meet_behind_a_layer() -> None:
    b = Builder()
    x = b.op("MatMul", _swap(b, b.input("n", 5, 6)), b.random(6, 4))
    model = b.model(b.op("Tanh", _swap(b, b.op("Add", x, b.random(4)))))
    rewrite(model, CanonicalBatchSecond(), RemoveIdentity())
    assert counts(model) == {"MatMul": 1, "Add": 1, "Tanh": 1}


def test_a_layer_on_all_rows_loses_its_reshapes() -> None:
    b = Builder()
    x = b.op("Reshape", b.input("n", 5, 6), np.array([-1, 6]))
    x = b.op("Gemm", x, b.random(6, 4), b.random(4))
    model = b.model(b.op("Tanh", b.op("Reshape", x, np.array([-1, 5, 4]))))
    CanonicalLinear().run(model)
    rewrite(model, CanonicalBatchSecond())
    assert counts(model) == {"MatMul": 1, "Add": 1, "Tanh": 1}


def test_other_rows_and_other_readers_stay() -> None:
    b = Builder()
    x = b.input("n", 5, 6)
    turned = _swap(b, x)
    weighted = b.op("MatMul", turned, b.random(6, 4))
    per_row = b.op("Add", _swap(b, x), b.random(5, 1, 6))
    flat = b.op("Gemm", b.op("Reshape", x, np.array([-1, 6])), b.random(4, 6), b.random(4),
                transB=1)  # fmt: skip
    other = b.op("Reshape", flat, np.array([5, -1, 4]))
    model = b.model(weighted, per_row, b.op("Tanh", turned), other)
    (found,) = rewrite(model, CanonicalBatchSecond(), batches=(5,))
    assert found.matches == 0
