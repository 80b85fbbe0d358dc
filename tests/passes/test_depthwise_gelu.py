"""A depthwise convolution takes up the GELU behind it; other convolutions and GELUs do not."""

from __future__ import annotations

import pytest
from rewriting import Builder, counts, reasons, rewrite

from attnc.passes.fuse.conv import FuseDepthwiseGelu

C, H, W = 6, 5, 4


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_and_gelu(kernel, stride):
    b = Builder()
    y = b.conv(b.input("batch", C, H, W), C, C, kernel, group=C, strides=[stride, stride])
    model = b.model(b.op("Gelu", y))
    (result,) = rewrite(model, FuseDepthwiseGelu())
    assert result.matches == 1
    assert counts(model) == {"FusedConvGelu": 1}


def test_a_dense_convolution_stays():
    b = Builder()
    model = b.model(b.op("Gelu", b.conv(b.input("batch", C, H, W), C, C, 3)))
    (result,) = rewrite(model, FuseDepthwiseGelu())
    assert result.matches == 0


def test_an_approximated_gelu_is_refused():
    b = Builder()
    y = b.conv(b.input("batch", C, H, W), C, C, 3, group=C)
    model = b.model(b.op("Gelu", y, approximate="tanh"))
    (result,) = rewrite(model, FuseDepthwiseGelu())
    assert result.matches == 0
    assert "approximated" in reasons(result)
