"""Reductions over axes: sums, means, norms, extremes and where the extremes lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import Array

Axes = tuple[int, ...] | None
Reduction = Callable[[Any, Axes], Any]


def reduction(function: Reduction) -> Callable[[Call], Array]:
    """An operation that reduces `x` over `axes`, or all of them; whole numbers stay whole."""

    def run(call: Call) -> Array:
        x = call.wide("x")
        axes = call.ints("axes") if "axes" in call else tuple(range(x.ndim))
        whole = x.dtype.kind != "f"
        kept = np.asarray(function(x.astype(np.float64) if whole else x, axes))
        result = kept if call.flag("keep_dims", False) else kept.squeeze(axes)
        return result.astype(np.int64) if whole else result

    return run


def position(function: Callable[..., Any]) -> Callable[[Call], Array]:
    """An operation that gives the first index of an extreme along `axis`."""

    def run(call: Call) -> Array:
        axis, keep = call.int("axis", -1), call.flag("keep_dims", False)
        found = np.asarray(function(call["x"], axis=axis, keepdims=keep))
        return found.astype(np.int64)

    return run


def log_sum_exp(x: Array, axes: Axes) -> Array:
    """log of the sum of exponentials, without overflow for large inputs."""
    top = np.max(x, axes, keepdims=True)
    return np.asarray(top + np.log(np.sum(np.exp(x - top), axes, keepdims=True)))


OPERATIONS: dict[str, Callable[[Call], Array]] = {
    "reduce_argmax": position(np.argmax),
    "reduce_argmin": position(np.argmin),
    "reduce_l1_norm": reduction(lambda x, axes: np.sum(np.abs(x), axes, keepdims=True)),
    "reduce_l2_norm": reduction(lambda x, axes: np.sqrt(np.sum(x * x, axes, keepdims=True))),
    "reduce_log_sum": reduction(lambda x, axes: np.log(np.sum(x, axes, keepdims=True))),
    "reduce_log_sum_exp": reduction(log_sum_exp),
    "reduce_max": reduction(lambda x, axes: np.max(x, axes, keepdims=True)),
    "reduce_mean": reduction(lambda x, axes: np.mean(x, axes, keepdims=True)),
    "reduce_min": reduction(lambda x, axes: np.min(x, axes, keepdims=True)),
    "reduce_prod": reduction(lambda x, axes: np.prod(x, axes, keepdims=True)),
    "reduce_sum": reduction(lambda x, axes: np.sum(x, axes, keepdims=True)),
    "reduce_sum_square": reduction(lambda x, axes: np.sum(x * x, axes, keepdims=True)),
}
