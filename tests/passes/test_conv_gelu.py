"""Convolutions that are a pass over memory take up the GELU behind them; others do not."""

from __future__ import annotations

import pytest
from rewriting import Builder, counts, reasons, rewrite

from attnc.passes.fuse.conv import FuseConvGelu

C, H, W = 6, 5, 4


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_and_gelu(kernel, stride):
    b = Builder()
    y = b.conv(b.input("batch", C, H, W), C, C, kernel, group=C, strides=[stride, stride])
    model = b.model(b.op("Gelu", y))
    (result,) = rewrite(model, FuseConvGelu())
    assert result.matches == 1
    assert counts(model) == {"FusedConvGelu": 1}


@pytest.mark.parametrize(("channels", "kernel"), [(C, 1), (4, 3)])
def test_pointwise_and_few_channels(channels, kernel):
    b = Builder()
    model = b.model(b.op("Gelu", b.conv(b.input("batch", channels, H, W), channels, 8, kernel)))
    (result,) = rewrite(model, FuseConvGelu())
    assert result.matches == 1
    assert counts(model) == {"FusedConvGelu": 1}


@pytest.mark.parametrize(("group", "kernel"), [(1, 3), (2, 1)])
def test_a_dense_window_on_many_channels_and_groups_stay(group, kernel):
    b = Builder()
    y = b.conv(b.input("batch", C, H, W), C, C, kernel, group=group)
    model = b.model(b.op("Gelu", y))
    (result,) = rewrite(model, FuseConvGelu())
    assert result.matches == 0


def test_an_approximated_gelu_is_refused():
    b = Builder()
    y = b.conv(b.input("batch", C, H, W), C, C, 3, group=C)
    model = b.model(b.op("Gelu", y, approximate="tanh"))
    (result,) = rewrite(model, FuseConvGelu())
    assert result.matches == 0
    assert "approximated" in reasons(result)
