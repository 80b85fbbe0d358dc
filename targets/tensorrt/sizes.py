"""Sizes of values, for rewrites that cannot do without them."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from attnc.passes.graph import Refuse


def sizes_of(node: ir.Node, index: int, rank: int) -> list[Any]:
    """The sizes of an input: numbers, and symbols for what is free.

    Raises Refuse at the node if its rank is not `rank` or not known.
    """
    return list(shape_of(given(node, index), rank, node))


def shape_of(value: ir.Value, rank: int, node: ir.Node) -> list[Any]:
    """The sizes of a value. Raises Refuse at `node` if its rank is not `rank` or not known."""
    if value.shape is None or len(value.shape) != rank:
        raise Refuse(f"the value {value.name!r} is not known to have {rank} axes", node)
    return list(value.shape)


def given(node: ir.Node, index: int) -> ir.Value:
    """An input that must be there. Raises Refuse if it is not."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise Refuse(f"input {index} is missing", node)
    return value
