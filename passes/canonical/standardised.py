"""Reads the written-out normalisation that GroupNorm and LayerNorm share.

(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon), the means over some axes, kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from attnc.passes.canonical.pool import reduced_axes
from attnc.passes.graph import attribute, is_op, scalar, shape

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Standardised:
    """`x` with mean 0 and variance 1 over `axes` (not negative, sorted)."""

    x: ir.Value
    epsilon: float
    axes: Axes


def standardised_at(node: ir.Node) -> Standardised | None:
    """The normalisation whose last step is this Div or Mul; None for anything else."""
    centred, deviation = node.inputs[0], node.inputs[1]
    if is_op(node, "Mul"):
        inverse = [(a, _inverted(b)) for a, b in (node.inputs, reversed(node.inputs))]
        centred, deviation = next(((a, b) for a, b in inverse if b is not None), (None, None))
    root = deviation.producer() if deviation is not None else None
    if root is None or centred is None or not is_op(root, "Sqrt"):
        return None
    found = _centred(centred)
    added = root.inputs[0].producer() if root.inputs[0] is not None else None
    if found is None or added is None or not is_op(added, "Add"):
        return None
    x, axes = found
    for variance, other in (added.inputs, reversed(added.inputs)):
        epsilon = scalar(other)
        if epsilon is not None and variance is not None and _is_variance(variance, centred, found):
            return Standardised(x, epsilon, axes)
    return None


def _inverted(value: ir.Value | None) -> ir.Value | None:
    """v where `value` is 1 / v."""
    node = value.producer() if value is not None else None
    if is_op(node, "Reciprocal"):
        assert node is not None
        return node.inputs[0]
    if is_op(node, "Div"):
        assert node is not None
        return node.inputs[1] if scalar(node.inputs[0]) == 1.0 else None
    return None


def _mean_of(value: ir.Value | None) -> tuple[ir.Value, Axes] | None:
    """v and the axes where `value` is the mean of v over these axes, kept."""
    node = value.producer() if value is not None else None
    if node is None or not is_op(node, "ReduceMean") or not attribute(node, "keepdims", 1):
        return None
    x, sizes = node.inputs[0], shape(node.inputs[0])
    if x is None or sizes is None:
        return None
    axes = tuple(reduced_axes(node, len(sizes)))
    return (x, axes) if axes else None


def _centred(value: ir.Value) -> tuple[ir.Value, Axes] | None:
    """x and the axes where `value` is x - mean(x)."""
    node = value.producer()
    if node is None or not is_op(node, "Sub"):
        return None
    x, mean = node.inputs
    found = _mean_of(mean)
    return found if found is not None and found[0] is x else None


def _is_variance(value: ir.Value, centred: ir.Value, want: tuple[ir.Value, Axes]) -> bool:
    """Whether `value` is the mean of the square of x - mean(x), computed once or twice."""
    found = _mean_of(value)
    node = found[0].producer() if found is not None else None
    if found is None or node is None or found[1] != want[1]:
        return False
    first = node.inputs[0]
    if first is None or (first is not centred and _centred(first) != want):
        return False
    if is_op(node, "Pow"):
        return scalar(node.inputs[1]) == 2.0
    return is_op(node, "Mul") and node.inputs[1] is first
