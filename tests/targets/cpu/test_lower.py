"""Lowering keeps what the graph computes, and the layout changes only where it must."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from lowering import CLAMP, POINT, WINDOW, Builder, check

from attnc.compiler.ops.base import NO_MIN
from attnc.targets.cpu.lower import lower


def test_network_from_stem_to_head_needs_no_transpose() -> None:
    b = Builder()
    y = b.conv(b.x, 3, 12, strides=(2, 2))
    y = b.conv(y, 12, 12, group=12)
    y = b.feed_forward(y, 12)
    counts = check(b.model(b.head(y, 12)))
    assert counts == {
        "StemConvNhwc": 1,
        "DepthwiseNhwc": 1,
        "FeedForwardNhwc": 1,
        "PoolLinearNhwc": 1,
    }


def test_wide_input_is_converted_once() -> None:
    b = Builder(("batch", 3, 12, 10))
    wide = b.node("Concat", [b.x, b.x], axis=1)
    counts = check(b.model(b.conv(wide, 6, 8), b.conv(wide, 6, 5)))
    assert counts["Transpose"] == 3  # one in, one out per output
    assert counts["ConvNhwc"] == 2


def test_reader_outside_the_region_gets_its_map_back_once() -> None:
    b = Builder()
    y = b.conv(b.x, 3, 8)
    outside = [b.node("Softmax", [y], axis=1), b.node("Softmax", [y], axis=3)]
    counts = check(b.model(*outside, b.feed_forward(y, 8)))
    assert counts["Transpose"] == 2


def test_elementwise_operators_stay_inside() -> None:
    b = Builder()
    y = b.conv(b.x, 3, 8, min=NO_MIN)
    y.shape = ir.Shape(["batch", 8, 12, 10])
    z = b.node("Sigmoid", [y])
    z.shape = y.shape
    y = b.node("Mul", [y, z])
    counts = check(b.model(b.head(b.feed_forward(y, 8), 8)))
    assert "Transpose" not in counts


def test_residual_convolution_and_its_reader() -> None:
    b = Builder()
    y = b.conv(b.x, 3, 8)
    inputs = [y, b.constant(8, 8, 1, 1), b.constant(8), y]
    z = b.node("@FusedConvAdd", inputs, **POINT, **CLAMP, group=1)
    counts = check(b.model(z))
    assert counts == {"StemConvNhwc": 1, "ConvAddNhwc": 1, "Transpose": 1}


def test_grouped_convolution_stays_and_says_why() -> None:
    b = Builder()
    y = b.conv(b.conv(b.x, 3, 8), 8, 8, group=2)
    model = b.model(y)
    assert check(model) == {"StemConvNhwc": 1, "FusedConv": 1, "Transpose": 1}
    (refusal,) = lower(model)
    assert "groups" in refusal.reason


def test_weight_that_is_computed_stays_and_says_why() -> None:
    b = Builder()
    weight = b.node("Identity", [b.constant(8, 3, 3, 3)])
    y = b.node("@FusedConv", [b.x, weight, b.constant(8)], **WINDOW, **CLAMP, group=1)
    (refusal,) = lower(b.model(y))
    assert refusal.reason == "a weight is not a constant"


@pytest.mark.parametrize("output", ["first", "last", "both"])
def test_graph_outputs_keep_their_names(output: str) -> None:
    b = Builder()
    first = b.conv(b.x, 3, 8)
    last = b.feed_forward(first, 8)
    first.name, last.name = "first", "last"
    model = b.model(*{"first": [first], "last": [last], "both": [first, last]}[output])
    names = [value.name for value in model.graph.outputs]
    check(model)
    assert [value.name for value in model.graph.outputs] == names
