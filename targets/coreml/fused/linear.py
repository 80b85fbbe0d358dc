"""Layers on the last axis: 1x1 convolutions where the value is held channels first.

x [B,N,C] held as [B,C,h,w]: layer_norm over axis 1 -> conv [out,in,1,1] -> gelu -> add
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.fused.convolutions import clamp, gelu, pointwise
from attnc.targets.coreml.writer import sizes


@dataclass
class Rows:
    """A value in the form in which its layers work: `first` says whether channels first."""

    to: Forms
    x: Any
    first: bool

    @classmethod
    def of(cls, value: ir.Value | None, to: Forms) -> Rows:
        """Channels first if at hand, or if the plain form has too many axes for `linear`."""
        first = to.is_first(value) or len(to.sizes(value)) > 3
        return cls(to, to.first(value) if first else to.plain(value), first)

    def layer(self, weight: Any, bias: Any) -> Rows:
        """x W^T + b"""
        if self.first:
            return self._with(pointwise(self.to, self.x, weight, bias))
        return self._with(self.to.emit("linear", x=self.x, weight=weight, bias=bias))

    def norm(self, epsilon: float, gamma: Any = None, beta: Any = None) -> Rows:
        """Over the channels."""
        axes = [1 if self.first else -1]
        made = self.to.emit(
            "layer_norm", x=self.x, axes=axes, gamma=gamma, beta=beta, epsilon=float(epsilon)
        )
        return self._with(made)

    def gelu(self) -> Rows:
        """Exact GELU."""
        return self._with(gelu(self.to, self.x))

    def add(self, value: ir.Value | None) -> Rows:
        """The sum with another value of the same shape."""
        plane = sizes(self.x)[2:]
        other = self.to.first_at(value, *plane) if self.first else self.to.plain(value)
        return self._with(self.to.emit("add", x=self.x, y=other))

    def clamp(self, node: ir.Node) -> Rows:
        """Within the bounds of the node."""
        low, high = attribute(node, "min"), attribute(node, "max")
        return self._with(clamp(self.to, self.x, low, high))

    def put(self, value: ir.Value) -> None:
        """Hold it as this value of the graph."""
        if self.first:
            self.to.set_first(value, self.x)
        else:
            self.to.set(value, self.x)

    def _with(self, x: Any) -> Rows:
        return Rows(self.to, x, self.first)


def linear(node: ir.Node, to: Forms) -> None:
    """layer -> clamp"""
    _layer(node, to).clamp(node).put(node.outputs[0])


def linear_add(node: ir.Node, to: Forms) -> None:
    """layer -> add r -> clamp"""
    residual = node.inputs[3]
    _layer(node, to).add(residual).clamp(node).put(node.outputs[0])


def linear_gelu(node: ir.Node, to: Forms) -> None:
    """layer -> gelu"""
    _layer(node, to).gelu().put(node.outputs[0])


def norm_linear(node: ir.Node, to: Forms) -> None:
    """layer_norm -> layer"""
    _norm_layer(node, to).put(node.outputs[0])


def norm_linear_gelu(node: ir.Node, to: Forms) -> None:
    """layer_norm -> layer -> gelu"""
    _norm_layer(node, to).gelu().put(node.outputs[0])


def mlp(node: ir.Node, to: Forms) -> None:
    """x + layer(gelu(layer(layer_norm x)))"""
    x = node.inputs[0]
    hidden = _norm_layer(node, to).gelu()
    hidden.layer(to.plain(node.inputs[3]), to.plain(node.inputs[4])).add(x).put(node.outputs[0])


def _layer(node: ir.Node, to: Forms) -> Rows:
    rows = Rows.of(node.inputs[0], to)
    return rows.layer(to.plain(node.inputs[1]), to.plain(node.inputs[2]))


def _norm_layer(node: ir.Node, to: Forms) -> Rows:
    rows = Rows.of(node.inputs[0], to).norm(attribute(node, "epsilon"))
    return rows.layer(to.plain(node.inputs[1]), to.plain(node.inputs[2]))


OPERATORS = {
    "Linear": linear,
    "LinearAdd": linear_add,
    "LinearGelu": linear_gelu,
    "NormLinear": norm_linear,
    "NormLinearGelu": norm_linear_gelu,
    "Mlp": mlp,
}
