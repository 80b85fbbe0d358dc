"""Tensors that hold one number everywhere, whatever their shape."""

from __future__ import annotations

import onnx_ir as ir

from attnc.passes.graph import attribute, const, is_op


def fill_of(value: ir.Value | None) -> float | None:
    """The number that every element of a value has, whatever its shape; None if unknown."""
    array = const(value)
    if array is not None:
        same = array.size > 0 and bool((array == array.reshape(-1)[0]).all())
        return float(array.reshape(-1)[0]) if same else None
    node = value.producer() if value is not None else None
    if node is None:
        return None
    if is_op(node, "ConstantOfShape"):
        held = attribute(node, "value")
        return 0.0 if held is None else float(held.numpy().reshape(-1)[0])
    if is_op(node, "Expand", "Cast", "Identity", "Reshape", "Unsqueeze"):
        return fill_of(node.inputs[0])
    return None
