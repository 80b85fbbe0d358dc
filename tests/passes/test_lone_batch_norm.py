"""A BatchNormalization that nothing takes up becomes a depthwise convolution."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from rewriting import Builder, counts, only, reasons, rewrite

from attnc.passes.fuse.conv import FuseConv
from attnc.passes.fuse.lone_batch_norm import FuseLoneBatchNorm
from attnc.passes.graph import attribute


def normalised(b: Builder, x: ir.Value, channels: int) -> ir.Value:
    statistics = [b.random(channels) for _ in range(3)]
    return b.op("BatchNormalization", x, *statistics, np.abs(b.random(channels)) + 0.5)


def test_a_normalisation_between_others_takes_its_activation() -> None:
    b = Builder()
    x = b.op("Tanh", b.input("n", 6, 5, 7))
    model = b.model(b.op("Relu", normalised(b, x, 6)), x)
    passes = rewrite(model, FuseLoneBatchNorm(), FuseConv())
    assert [result.matches for result in passes] == [1, 1]
    assert counts(model) == {"Tanh": 1, "FusedConv": 1}
    node = only(model, "FusedConv")
    assert (attribute(node, "group"), attribute(node, "min")) == (6, 0.0)


def test_a_normalised_vector_stays() -> None:
    b = Builder()
    model = b.model(b.op("Relu", normalised(b, b.input("n", 6), 6)))
    (result,) = rewrite(model, FuseLoneBatchNorm())
    assert result.matches == 0
    assert "two-dimensional map" in reasons(result)
