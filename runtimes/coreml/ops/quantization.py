"""Affine quantisation of values at run time (iOS17)."""

from __future__ import annotations

import numpy as np

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import Array


def _along_axis(call: Call, name: str) -> Array:
    """The scalar or vector `name` in float32, laid out along `axis`; 0 where it is absent."""
    if call.get(name) is None:
        return np.zeros((), np.float32)
    values: Array = call[name].astype(np.float32)
    if values.ndim == 0:
        return np.asarray(values)
    shape = [1] * call["input"].ndim
    shape[call.int("axis")] = -1
    return values.reshape(shape)


def _quantize(call: Call) -> Array:
    dtype = np.dtype(call.text("output_dtype"))
    limits = np.iinfo(dtype)
    steps = np.rint(call.wide("input") / _along_axis(call, "scale"))
    shifted = steps + _along_axis(call, "zero_point")
    clipped: Array = np.clip(shifted, limits.min, limits.max)
    return clipped.astype(dtype)


def _dequantize(call: Call) -> Array:
    centred = call["input"].astype(np.float32) - _along_axis(call, "zero_point")
    return np.asarray(centred * _along_axis(call, "scale"))


OPERATIONS = {"quantize": _quantize, "dequantize": _dequantize}
