"""What the passes on token-wise linear layers share: reading one, and making another of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.passes.activations import Clamp
from attnc.passes.graph import Array, attribute, const, is_const, is_fused


@dataclass(frozen=True)
class TokenLinear:
    """A fused linear layer with constant weights: y = [gelu](x w^T + b), clamped."""

    node: ir.Node
    x: ir.Value
    w: ir.Value
    b: ir.Value
    clamp: Clamp

    @property
    def out(self) -> ir.Value:
        """Its result."""
        return self.node.outputs[0]

    @property
    def plain(self) -> bool:
        """Whether nothing happens to the product and the bias."""
        return self.node.op_type == "Linear" and self.clamp == Clamp()

    def weight(self) -> Array:
        """[N, K]"""
        array = const(self.w)
        assert array is not None
        return array

    def bias(self) -> Array:
        """[N]"""
        array = const(self.b)
        assert array is not None
        return array


def token_linear(node: ir.Node | None, *op_types: str) -> TokenLinear | None:
    """The layer at `node` if it is one of these (by default Linear); else None."""
    if node is None or not is_fused(node, *(op_types or ("Linear",))):
        return None
    x, w, b = node.inputs[:3]
    if x is None or w is None or b is None or not is_const(w) or not is_const(b):
        return None
    low, high = attribute(node, "min", NO_MIN), attribute(node, "max", NO_MAX)
    return TokenLinear(node, x, w, b, Clamp(_bound(low), _bound(high)))


def _bound(value: float) -> float:
    """float32 keeps the ends of its range only up to rounding."""
    return NO_MIN if value <= -3.4e38 else NO_MAX if value >= 3.4e38 else value


def row_of(array: Array | None, size: int) -> Array | None:
    """A constant that is one number, or one per channel of the last axis, as [1] or [size]."""
    if array is None or (array.size != 1 and array.shape[-1:] != (size,)):
        return None
    return array.reshape(-1) if array.size in (1, size) else None


def sizes_with(x: ir.Value, last: int) -> Sequence[object] | None:
    """The shape of x with another last axis."""
    return None if x.shape is None else [*list(x.shape)[:-1], last]
