"""Whether an operator of a graph chooses, so that rounding can turn what it gives."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.registry import get


def any_chooses(nodes: Iterable[ir.Node]) -> bool:
    """Whether one of these nodes hides what is not among the best."""
    return any(_chooses(node) for node in nodes)


def _chooses(node: ir.Node) -> bool:
    rule = get(node.op_type).discontinuous if node.domain == DOMAIN else None
    if rule is None:
        return False
    shapes = [tuple(_size(size) for size in value.shape or ()) for value in node.inputs if value]
    return rule.chooses(shapes, {name: found.value for name, found in node.attributes.items()})


def _size(size: object) -> int:
    return size if isinstance(size, int) else 1  # of the batch, which does not matter
