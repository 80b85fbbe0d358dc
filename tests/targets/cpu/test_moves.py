"""Transposes and Reshapes between channels-last operators disappear; the numbers stay."""

from __future__ import annotations

import onnx_ir as ir
from lowering import Builder, check

from attnc.compiler.ops.base import NO_MIN


def stem(b: Builder, channels: int = 8) -> ir.Value:
    y = b.conv(b.x, 3, channels, min=NO_MIN)
    y.shape = ir.Shape(["batch", channels, 12, 10])
    return y


def norm(b: Builder, x: ir.Value, channels: int) -> ir.Value:
    assert x.shape is not None
    inputs = [x, b.constant(channels), b.constant(channels)]
    return b.node("LayerNormalization", inputs, shape=x.shape[1:], axis=-1)


def test_norm_over_the_channels_needs_no_transpose() -> None:
    b = Builder()
    y = b.transpose(norm(b, b.transpose(stem(b), 0, 2, 3, 1), 8), 0, 3, 1, 2)
    counts = check(b.model(b.head(b.conv(y, 8, 8), 8)))
    assert "Transpose" not in counts


def test_residual_around_a_norm_stays_channels_last() -> None:
    b = Builder()
    x = stem(b)
    y = b.transpose(norm(b, b.transpose(x, 0, 2, 3, 1), 8), 0, 3, 1, 2)
    z = b.node("Add", [x, y], shape=(8, 12, 10))
    counts = check(b.model(b.head(b.conv(z, 8, 8), 8)))
    assert "Transpose" not in counts


def test_tokens_are_a_reshape_of_the_map() -> None:
    b = Builder()
    tokens = b.transpose(b.reshape(stem(b), 8, 120), 0, 2, 1)
    y = norm(b, tokens, 8)
    back = b.reshape(b.transpose(y, 0, 2, 1), 8, 12, 10)
    counts = check(b.model(b.head(b.conv(back, 8, 8), 8)))
    assert "Transpose" not in counts
    assert counts["Reshape"] == 2


def test_layer_scale_meets_the_last_axis() -> None:
    b = Builder()
    y = b.node("Mul", [stem(b), b.constant(1, 8, 1, 1)], shape=(8, 12, 10))
    counts = check(b.model(b.head(b.conv(y, 8, 8), 8)))
    assert "Transpose" not in counts


def test_mean_over_the_positions_reads_the_map_as_it_lies() -> None:
    b = Builder()
    inputs = [stem(b), b.values(2, 3)]
    y = b.node("ReduceMean", inputs, shape=(8,), keepdims=0)
    assert "Transpose" not in check(b.model(y))


def test_a_constant_along_the_rows_of_a_map_stays_outside() -> None:
    b = Builder()
    y = b.node("Mul", [stem(b), b.constant(12, 1)], shape=(8, 12, 10))
    assert check(b.model(y))["Transpose"] == 1


def test_a_transpose_that_is_an_output_keeps_its_name() -> None:
    b = Builder()
    y = b.transpose(stem(b), 0, 2, 3, 1)
    y.name = "last"
    model = b.model(y)
    check(model)
    assert [value.name for value in model.graph.outputs] == ["last"]
