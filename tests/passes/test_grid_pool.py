"""Adaptive pooling in the spellings of exporters; what only looks like it is left alone."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
import torch.nn.functional as F
from rewriting import Builder, compute, counts, distance, only, random_feeds, reasons, rewrite
from torch import nn

from attnc.compiler.pipeline import run_pipeline
from attnc.model_defs.pooling import pooling_matrix
from attnc.passes import pipelines
from attnc.passes.canonical.pooled_batch_norm import FoldPooledBatchNorm
from attnc.passes.fuse.grid_pool import FuseGridPool
from attnc.passes.graph import attribute

B, C, H, W = "batch", 3, 14, 7


def products(b: Builder, x: ir.Value, rows: int, columns: int, first: str) -> ir.Value:
    down = np.array(pooling_matrix(H, rows), np.float32)
    across = np.array(pooling_matrix(W, columns), np.float32).T
    if first == "rows":
        return b.op("MatMul", b.op("MatMul", down, x), across)
    return b.op("MatMul", down, b.op("MatMul", x, across))


@pytest.mark.parametrize("first", ["rows", "columns"])
@pytest.mark.parametrize("grid", [(8, 8), (7, 7), (3, 2), (16, 20)])
def test_two_constant_products(grid, first):
    b = Builder()
    x = b.op("Add", b.input(B, C, H, W), b.input(B, C, H, W, name="z"))
    model = b.model(products(b, b.op("Add", x, x), *grid, first))
    (result,) = rewrite(model, FuseGridPool())
    assert result.matches == 1
    assert attribute(only(model, "GridPool"), "grid") == list(grid)
    assert "MatMul" not in counts(model)


def test_products_that_average_something_else_are_left_alone():
    b = Builder()
    x = b.input(B, C, H, W)
    down = np.array(pooling_matrix(H, 8), np.float32)
    down[2, 5] += 0.01
    across = np.array(pooling_matrix(W, 8), np.float32).T
    model = b.model(b.op("MatMul", b.op("MatMul", down, x), across))
    (result,) = rewrite(model, FuseGridPool())
    assert result.matches == 0


def test_a_result_that_is_needed_in_between_is_refused():
    b = Builder()
    x = b.input(B, C, H, W)
    half = b.op("MatMul", x, np.array(pooling_matrix(W, 2), np.float32).T)
    whole = b.op("MatMul", np.array(pooling_matrix(H, 8), np.float32), half)
    model = b.model(whole, b.op("Relu", half))
    (result,) = rewrite(model, FuseGridPool())
    assert result.matches == 0
    assert "second consumer" in reasons(result)


class Pooled(nn.Module):
    """A convolution, pooling to tokens, a linear layer on them."""

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid, self.conv, self.linear = grid, nn.Conv2d(3, 8, 1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = F.adaptive_avg_pool2d(self.conv(x), (self.grid, self.grid))
        return self.linear(pooled.flatten(2).transpose(1, 2))


def exported(size: tuple[int, int], opset: int, dynamo: bool, dynamic: bool) -> ir.Model:
    torch.manual_seed(0)
    model, x, file = Pooled(8).eval(), torch.randn(2, 3, *size), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not dynamo:
            torch.onnx.export(model, (x,), file, dynamo=False, opset_version=opset)
            return ir.serde.deserialize_model(onnx.load_from_string(file.getvalue()))
        shapes = ({0: torch.export.Dim.DYNAMIC},) if dynamic else None
        program = torch.onnx.export(
            model, (x,), dynamo=True, opset_version=opset, dynamic_shapes=shapes, verbose=False
        )
    return ir.serde.deserialize_model(program.model_proto)


@pytest.mark.parametrize(
    ("size", "opset", "dynamo", "dynamic"),
    [
        ((14, 14), 20, True, False),
        ((14, 14), 20, True, True),
        ((7, 20), 18, True, False),
        ((7, 9), 23, True, True),
        ((16, 24), 20, True, False),
        ((16, 24), 17, False, False),
    ],
)
def test_exports_of_adaptive_pooling(size, opset, dynamo, dynamic):
    model = exported(size, opset, dynamo, dynamic)
    original = ir.serde.deserialize_model(ir.serde.serialize_model(model))
    run_pipeline(model, pipelines.default())
    assert counts(model).get("GridPool") == 1, counts(model)
    feeds = random_feeds(original, 2)
    assert distance(compute(model, feeds), compute(original, feeds)) < 1e-5
    assert not {"GatherND", "Where", "AveragePool", "Div"} & set(counts(model))


def batch_norm(b: Builder, x: ir.Value) -> ir.Value:
    constants = [b.random(C), b.random(C), b.random(C), np.abs(b.random(C)) + 0.5]
    return b.op("BatchNormalization", x, *constants)


def test_batch_norm_in_front_of_the_mean_goes_into_the_head():
    b = Builder()
    mean = b.op("GlobalAveragePool", batch_norm(b, b.input(B, C, H, W)))
    flat = b.op("Flatten", mean, axis=1)
    model = b.model(b.op("Gemm", flat, b.random(5, C), b.random(5), transB=1))
    (result,) = rewrite(model, FoldPooledBatchNorm())
    assert result.matches == 1
    assert counts(model) == {"GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}


def test_batch_norm_in_front_of_a_mean_that_goes_elsewhere_stays():
    b = Builder()
    model = b.model(b.op("Relu", b.op("GlobalAveragePool", batch_norm(b, b.input(B, C, H, W)))))
    (result,) = rewrite(model, FoldPooledBatchNorm())
    assert result.matches == 0
    assert "one linear layer" in reasons(result)
