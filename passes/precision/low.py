"""The two low types, their limits, and tensors in them.

float16 holds 6.1e-5 (normal) to 65504; bfloat16 holds what float32 holds, with 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import Array, const

FLOAT = ir.DataType.FLOAT
HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
#: A recorded range may be this part of the largest number: other inputs give other ranges.
HEADROOM = 0.25


@dataclass(frozen=True)
class Low:
    """A low type: `largest` finite number, `smallest` positive normal one."""

    dtype: ir.DataType
    largest: float
    smallest: float

    @property
    def name(self) -> str:
        """As ONNX spells it: "float16"."""
        return self.dtype.name.lower()

    @property
    def safe(self) -> float:
        """The largest recorded magnitude that may be stored in this type."""
        return self.largest * HEADROOM

    def tensor(self, array: Array, name: str | None) -> ir.TensorProtocol:
        """The array in this type, rounded to nearest even."""
        return ir.tensor(array.astype(self.dtype.numpy()), name=name)


LOWS = {
    "fp16": Low(ir.DataType.FLOAT16, 65504.0, 2.0**-14),
    "bf16": Low(ir.DataType.BFLOAT16, float.fromhex("0x1.fep127"), 2.0**-126),
}


class Trouble(Enum):
    """Why a constant does not go into a low type."""

    LARGE = "large"  # it fits, but arithmetic with it may not
    OVERFLOW = "overflow"
    UNDERFLOW = "underflow"


def judge(low: Low) -> Callable[[ir.Value | None], Trouble | None]:
    """A function that says what is wrong with a float32 constant; each one is read once."""

    @cache
    def look(value: ir.Value | None) -> Trouble | None:
        array = const(value)
        if array is None or array.dtype != np.float32 or not array.size:
            return None
        size = np.abs(array)
        largest = float(np.max(size, where=np.isfinite(size), initial=0.0))
        if largest > low.largest:
            return Trouble.OVERFLOW
        if largest > low.safe:
            return Trouble.LARGE
        return Trouble.UNDERFLOW if 0 < largest < low.smallest else None

    return look


def is_float(value: ir.Value | None) -> bool:
    """Whether this is a float32 tensor."""
    return value is not None and isinstance(value.type, ir.TensorType) and value.dtype == FLOAT
