"""Normalisations by given statistics, by instance, axes, length or neighbouring channels."""

from __future__ import annotations

import numpy as np

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import Array


def _scaled(call: Call, x: Array, shape: tuple[int, ...]) -> Array:
    """`x` times `gamma` plus `beta`, each where it is given, laid out as `shape`."""
    if call.get("gamma") is not None:
        x = x * call.wide("gamma").reshape(shape)
    if call.get("beta") is not None:
        x = x + call.wide("beta").reshape(shape)
    return x


def _standardised(call: Call, x: Array, axes: tuple[int, ...]) -> Array:
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = np.square(centred).mean(axis=axes, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + np.float32(call.number("epsilon", 1e-5))))


def _per_channel(x: Array) -> tuple[int, ...]:
    return (1, -1, *[1] * (x.ndim - 2))


def _batch_norm(call: Call) -> Array:
    x = call.wide("x")
    shape = _per_channel(x)
    deviation = np.sqrt(call.wide("variance") + np.float32(call.number("epsilon", 1e-5)))
    centred = x - call.wide("mean").reshape(shape)
    return _scaled(call, centred / deviation.reshape(shape), shape)


def _instance_norm(call: Call) -> Array:
    x = call.wide("x")
    standardised = _standardised(call, x, tuple(range(2, x.ndim)))
    return _scaled(call, standardised, _per_channel(x))


def _layer_norm(call: Call) -> Array:
    x = call.wide("x")
    axes = tuple(sorted(axis % x.ndim for axis in call.ints("axes", tuple(range(x.ndim)))))
    shape = tuple(size if axis in axes else 1 for axis, size in enumerate(x.shape))
    return _scaled(call, _standardised(call, x, axes), shape)


def _l2_norm(call: Call) -> Array:
    x = call.wide("x")
    squares = np.square(x).sum(axis=(-3, -2, -1), keepdims=True)
    return np.asarray(x / np.sqrt(squares + np.float32(call.number("epsilon", 1e-6))))


def _local_response_norm(call: Call) -> Array:
    x, size = call.wide("x"), call.int("size")
    before = size // 2  # of an even window, the extra channel is the one before
    around = [(0, 0)] * x.ndim
    around[1] = (before, size - 1 - before)
    squares = np.pad(np.square(x), around)
    channels = x.shape[1]
    sums = np.sum([squares[:, i : i + channels] for i in range(size)], axis=0)
    scale = np.float32(call.number("alpha", 1e-4) / size)
    base = np.float32(call.number("k", 1.0)) + scale * sums
    return np.asarray(x / base ** np.float32(call.number("beta", 0.75)))


OPERATIONS = {
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "l2_norm": _l2_norm,
    "local_response_norm": _local_response_norm,
}
