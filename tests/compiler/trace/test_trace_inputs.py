"""What a model's own configuration says of its input is kept: depth, and sizes it can take."""

from __future__ import annotations

import pytest

from attnc.compiler.errors import UsageError
from attnc.compiler.trace import trace


def test_layer_with_64_channels_is_traced_with_64() -> None:
    traced = trace("tic_layer_c64_k3", batch=1)
    assert traced.input.shape == (1, 64, 56, 56)
    assert traced.preprocessing is None


def test_size_that_is_no_multiple_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="glnet_stl cannot take images of 200x224"):
        trace("glnet_stl", batch=1, image_size=(200, 224))
