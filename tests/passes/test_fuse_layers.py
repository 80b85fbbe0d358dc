"""Fusions of convolutions, gates, feed-forward blocks and heads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import Builder, counts, only, reasons, rewrite

from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.compiler.ops.registry import get
from attnc.passes.fuse.conv import FuseConv, FuseConvAdd
from attnc.passes.fuse.feed_forward import fuse_feed_forward
from attnc.passes.fuse.inverted_bottleneck import fuse_inverted_bottleneck
from attnc.passes.fuse.pool_linear import fuse_pool_linear
from attnc.passes.fuse.residual_depthwise import fold_residual_depthwise
from attnc.passes.fuse.squeeze_excite import fuse_squeeze_excite
from attnc.passes.graph import attribute

Make = Callable[[Builder, ir.Value], ir.Value]


def _x(b: Builder, channels: int = 6) -> ir.Value:
    return b.op("Tanh", b.input("n", channels, 7, 5))


def _declared(model: ir.Model, name: str) -> dict[str, object]:
    """Attributes of the fused node, which must be those that the operator declares."""
    node = only(model, name)
    assert set(node.attributes) == set(get(name).attributes)
    assert len(node.inputs) == len(get(name).inputs)
    return {key: attribute(node, key) for key in node.attributes}


ACTIVATIONS: dict[str, tuple[Make, float, float]] = {
    "relu": (lambda b, x: b.op("Relu", x), 0.0, NO_MAX),
    "relu6": (lambda b, x: b.op("Clip", x, np.array(0.0), np.array(6.0)), 0.0, 6.0),
    "floor": (lambda b, x: b.op("Clip", x, np.array(-0.5)), -0.5, NO_MAX),
    "ceiling": (lambda b, x: b.op("Clip", x, None, np.array(0.5)), NO_MIN, 0.5),
    "none": (lambda b, x: x, NO_MIN, NO_MAX),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("group", [1, 6])
def test_conv_takes_its_activation(name: str, group: int) -> None:
    act, low, high = ACTIVATIONS[name]
    b = Builder()
    y = b.conv(_x(b), 6, 6, 3, group=group, strides=[2, 1])
    model = b.model(b.op("Exp", act(b, y)))
    assert rewrite(model, FuseConv())[0].matches == 1
    assert counts(model) == {"Tanh": 1, "FusedConv": 1, "Exp": 1}
    found = _declared(model, "FusedConv")
    assert (found["min"], found["max"]) == (np.float32(low), np.float32(high))
    assert (found["group"], found["strides"]) == (group, [2, 1])


def test_a_conv_that_others_read_keeps_its_activation_apart() -> None:
    b = Builder()
    y = b.conv(_x(b), 6, 6)
    model = b.model(b.op("Relu", y), b.op("Exp", y))
    rewrite(model, FuseConv())
    assert counts(model) == {"Tanh": 1, "FusedConv": 1, "Relu": 1, "Exp": 1}


def test_a_conv_that_is_an_output_keeps_its_activation_apart() -> None:
    b = Builder()
    y = b.conv(_x(b), 6, 6)
    model = b.model(y, b.op("Relu", y))
    rewrite(model, FuseConv())
    assert counts(model) == {"Tanh": 1, "FusedConv": 1, "Relu": 1}


def test_a_conv_in_double_precision_is_refused() -> None:
    b = Builder()
    x = b.input(1, 2, 3, 3, dtype=ir.DataType.DOUBLE)
    w = ir.Value(name="w", const_value=ir.tensor(np.ones((2, 2, 1, 1)), name="w"))
    bias = ir.Value(name="b", const_value=ir.tensor(np.ones(2), name="b"))
    for value in (w, bias):
        value.dtype, value.shape = ir.DataType.DOUBLE, value.const_value.shape
        b.graph.register_initializer(value)
    y = b.op("Conv", x, w, bias, kernel_shape=[1, 1], strides=[1, 1], pads=[0] * 4,
             dilations=[1, 1], group=1)  # fmt: skip
    y.dtype = ir.DataType.DOUBLE
    b.model(y)
    result = FuseConv().run(ir.Model(b.graph, ir_version=9))
    assert result.matches == 0
    assert "not in float32" in reasons(result)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("name", ["relu", "none"])
def test_conv_takes_its_residual(swapped: bool, name: str) -> None:
    act, low, _ = ACTIVATIONS[name]
    b = Builder()
    x = _x(b)
    operands = [b.conv(b.op("Exp", x), 6, 6, 3), x]
    y = act(b, b.op("Add", *(reversed(operands) if swapped else operands)))
    model = b.model(b.op("Sin", y))
    assert rewrite(model, FuseConvAdd())[0].matches == 1
    assert counts(model) == {"Tanh": 1, "Exp": 1, "FusedConvAdd": 1, "Sin": 1}
    assert _declared(model, "FusedConvAdd")["min"] == np.float32(low)


def test_two_convs_that_are_added_become_one_chain() -> None:
    b = Builder()
    x = _x(b)
    model = b.model(b.op("Add", b.conv(x, 6, 4), b.conv(x, 6, 4, 3)))
    rewrite(model, FuseConvAdd(), FuseConv())
    assert counts(model) == {"Tanh": 1, "FusedConv": 1, "FusedConvAdd": 1}


def test_a_residual_that_broadcasts_is_refused() -> None:
    b = Builder()
    x = _x(b)
    model = b.model(b.op("Add", b.conv(x, 6, 6), b.op("GlobalAveragePool", x)))
    assert "broadcasts" in reasons(rewrite(model, FuseConvAdd())[0])


def test_a_conv_with_a_second_reader_keeps_its_residual_apart() -> None:
    b = Builder()
    x = _x(b)
    y = b.conv(x, 6, 6)
    model = b.model(b.op("Add", y, x), b.op("Exp", y))
    assert "second consumer" in reasons(rewrite(model, FuseConvAdd())[0])


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("k", "dilation"), [(3, 1), (5, 1), (3, 2)])
def test_residual_depthwise(swapped: bool, k: int, dilation: int) -> None:
    b = Builder()
    x = _x(b)
    pads = [dilation * (k // 2)] * 4
    y = b.conv(x, 6, 6, k, group=6, pads=pads, dilations=[dilation] * 2)
    model = b.model(b.op("Add", *((y, x) if swapped else (x, y))))
    assert rewrite(model, fold_residual_depthwise())[0].matches == 1
    assert counts(model) == {"Tanh": 1, "Conv": 1}


DEPTHWISE_REFUSALS: dict[str, tuple[Make, str]] = {
    "grouped": (lambda b, x: b.conv(x, 6, 6, 3, group=2), "not depthwise"),
    "even": (lambda b, x: b.conv(x, 6, 6, 2, group=6, pads=[0, 0, 1, 1]), "no centre"),
    "uneven": (lambda b, x: b.conv(x, 6, 6, 3, group=6, pads=[0, 0, 2, 2]), "padding"),
}


@pytest.mark.parametrize("name", DEPTHWISE_REFUSALS)
def test_residuals_that_are_no_tap(name: str) -> None:
    make, reason = DEPTHWISE_REFUSALS[name]
    b = Builder()
    x = _x(b)
    model = b.model(b.op("Add", x, make(b, x)))
    (result,) = rewrite(model, fold_residual_depthwise())
    assert result.matches == 0
    assert reason in reasons(result)


def test_a_strided_depthwise_on_one_row_is_no_tap() -> None:
    b = Builder()
    x = b.op("Tanh", b.input(1, 6, 1, 1))
    model = b.model(b.op("Add", x, b.conv(x, 6, 6, 3, group=6, strides=[2, 2])))
    assert "strides" in reasons(rewrite(model, fold_residual_depthwise())[0])


def test_a_depthwise_with_a_second_reader_is_refused() -> None:
    b = Builder()
    x = _x(b)
    y = b.conv(x, 6, 6, 3, group=6)
    model = b.model(b.op("Add", x, y), b.op("Exp", y))
    assert "second consumer" in reasons(rewrite(model, fold_residual_depthwise())[0])


def _feed_forward(b: Builder, x: ir.Value, act: Make, swapped: bool = False) -> ir.Value:
    y = b.conv(act(b, b.conv(x, 6, 12)), 12, 6)
    return b.op("Add", *((y, x) if swapped else (x, y)))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_feed_forward(name: str, swapped: bool) -> None:
    act, low, high = ACTIVATIONS[name]
    b = Builder()
    model = b.model(_feed_forward(b, _x(b), act, swapped))
    assert rewrite(model, fuse_feed_forward())[0].matches == 1
    assert counts(model) == {"Tanh": 1, "FeedForward": 1}
    assert _declared(model, "FeedForward") == {"min": np.float32(low), "max": np.float32(high)}


def test_feed_forwards_in_a_row() -> None:
    b = Builder()
    x = _x(b)
    for _ in range(3):
        x = _feed_forward(b, x, ACTIVATIONS["relu"][0])
    model = b.model(x)
    assert rewrite(model, fuse_feed_forward())[0].matches == 3


def test_a_feed_forward_whose_hidden_layer_is_read() -> None:
    b = Builder()
    x = _x(b)
    hidden = b.op("Relu", b.conv(x, 6, 12))
    model = b.model(b.op("Add", b.conv(hidden, 12, 6), x), b.op("Exp", hidden))
    (result,) = rewrite(model, fuse_feed_forward())
    assert result.matches == 0
    assert "second consumer, Exp" in reasons(result)


def test_a_feed_forward_whose_hidden_layer_is_an_output() -> None:
    b = Builder()
    x = _x(b)
    hidden = b.op("Relu", b.conv(x, 6, 12))
    model = b.model(b.op("Add", b.conv(hidden, 12, 6), x), hidden)
    assert "is an output of the graph" in reasons(rewrite(model, fuse_feed_forward())[0])


def test_a_residual_block_of_wide_kernels_is_no_feed_forward() -> None:
    b = Builder()
    x = _x(b)
    hidden = b.op("Relu", b.conv(x, 6, 12, 3))
    model = b.model(b.op("Add", b.conv(hidden, 12, 6), x))
    assert "not a 1x1 convolution" in reasons(rewrite(model, fuse_feed_forward())[0])


def _gated(b: Builder, x: ir.Value, channels: int, gate: str = "Sigmoid") -> ir.Value:
    hidden = b.conv(b.op("GlobalAveragePool", x), channels, 4)
    return b.op(gate, b.conv(b.op("Relu", hidden), 4, channels))


@pytest.mark.parametrize("swapped", [False, True])
def test_squeeze_excite(swapped: bool) -> None:
    b = Builder()
    x = _x(b)
    gate = _gated(b, x, 6)
    model = b.model(b.op("Mul", *((gate, x) if swapped else (x, gate))))
    assert rewrite(model, fuse_squeeze_excite())[0].matches == 1
    assert counts(model) == {"Tanh": 1, "SqueezeExcite": 1}
    _declared(model, "SqueezeExcite")


def test_the_gate_of_mobilenet_is_refused() -> None:
    b = Builder()
    x = _x(b)
    model = b.model(b.op("Mul", x, _gated(b, x, 6, "HardSigmoid")))
    (result,) = rewrite(model, fuse_squeeze_excite())
    assert result.matches == 0
    assert "HardSigmoid" in reasons(result)


def test_a_gate_of_one_channel_is_refused() -> None:
    b = Builder()
    x = _x(b)
    hidden = b.op("Relu", b.conv(b.op("GlobalAveragePool", x), 6, 4))
    model = b.model(b.op("Mul", x, b.op("Sigmoid", b.conv(hidden, 4, 1))))
    assert "number of channels" in reasons(rewrite(model, fuse_squeeze_excite())[0])


def _bottleneck(b: Builder, second: str = "relu", group: int = 12, **window: object) -> ir.Value:
    hidden = b.op("Relu", b.conv(_x(b), 6, 12))
    hidden = b.conv(hidden, 12, 12, 3, group=group, strides=[2, 2], **window)
    hidden = ACTIVATIONS[second][0](b, hidden)
    return b.conv(b.op("Mul", hidden, _gated(b, hidden, 12)), 12, 8)


def test_inverted_bottleneck() -> None:
    b = Builder()
    model = b.model(_bottleneck(b))
    results = rewrite(model, fuse_squeeze_excite(), fuse_inverted_bottleneck())
    assert [result.matches for result in results] == [1, 1]
    assert counts(model) == {"Tanh": 1, "InvertedBottleneck": 1}
    found = _declared(model, "InvertedBottleneck")
    assert (found["strides"], found["pads"], found["group"]) == ([2, 2], [1] * 4, 12)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"second": "relu6"}, "activations differ"),
        ({"group": 4}, "not depthwise"),
        ({"dilations": [2, 2]}, "dilated"),
    ],
)
def test_other_bottlenecks_are_refused(options: dict[str, object], reason: str) -> None:
    b = Builder()
    model = b.model(_bottleneck(b, **options))
    _, result = rewrite(model, fuse_squeeze_excite(), fuse_inverted_bottleneck())
    assert result.matches == 0
    assert reason in reasons(result)


def test_pool_linear() -> None:
    b = Builder()
    x = b.op("Flatten", b.op("GlobalAveragePool", _x(b)))
    model = b.model(b.op("Gemm", x, b.random(10, 6), b.random(10), transB=1))
    assert rewrite(model, fuse_pool_linear())[0].matches == 1
    assert counts(model) == {"Tanh": 1, "PoolLinear": 1}
    _declared(model, "PoolLinear")


def test_a_pooled_vector_that_is_returned_is_not_swallowed() -> None:
    b = Builder()
    x = b.op("Flatten", b.op("GlobalAveragePool", _x(b)))
    model = b.model(b.op("Gemm", x, b.random(10, 6), b.random(10), transB=1), x)
    assert "is an output of the graph" in reasons(rewrite(model, fuse_pool_linear())[0])
