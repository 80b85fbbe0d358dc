"""What a runner is fed is checked by name, type and shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import TensorSpec
from attnc.runtimes.runner import check_feed

FIXED = (TensorSpec(name="input", dtype="float32", shape=(1, 3, 8, 8)),)
DYNAMIC = (TensorSpec(name="input", dtype="float32", shape=("batch", 3, 8, 8)),)


def feed(*shape: int, dtype: Any = np.float32) -> dict[str, Any]:
    return {"input": np.zeros(shape, dtype)}


def test_what_fits_passes() -> None:
    check_feed(feed(1, 3, 8, 8), FIXED)
    check_feed(feed(5, 3, 8, 8), DYNAMIC)


@pytest.mark.parametrize(
    ("given", "inputs", "said"),
    [
        ({}, FIXED, "'input' is missing"),
        ({"image": np.zeros(1)}, FIXED, "no input 'image'"),
        ({"input": [1.0]}, FIXED, "is a list"),
        (feed(1, 3, 8, 8, dtype=np.float64), FIXED, "has type float64"),
        (feed(1, 3, 8, 8, dtype=np.uint8), FIXED, "has type uint8"),
        (feed(2, 3, 8, 8), FIXED, r"has shape \[2, 3, 8, 8\]"),
        (feed(1, 8, 8, 3), DYNAMIC, r"has shape \[1, 8, 8, 3\]"),
        (feed(3, 8, 8), DYNAMIC, r"has shape \[3, 8, 8\]"),
        (feed(0, 3, 8, 8), DYNAMIC, r"has shape \[0, 3, 8, 8\]"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, Any], inputs: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        check_feed(given, inputs)
    assert "input" in caught.value.remedy or "convert" in caught.value.remedy
