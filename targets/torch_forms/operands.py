"""What a form is called with: values of the graph, and arrays, which become the module's weights.

A form that wants other weights than its node has names a function that makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.provenance import describe
from attnc.passes.graph import Array, const, shape

Operand = ir.Value | Array | None
MakeOperands = Callable[[ir.Node], list[Operand]]


def operands(node: ir.Node) -> list[Operand]:
    """The inputs of the node, constants as arrays."""
    return [value if const(value) is None else const(value) for value in node.inputs]


def arrays(node: ir.Node, values: Sequence[ir.Value | None]) -> list[Array]:
    """Constants behind values. Raises UnsupportedError for one that is computed."""
    found = [const(value) for value in values]
    for value, array in zip(values, found, strict=True):
        if array is None:
            raise UnsupportedError(
                f"the weight {value.name if value else '(absent)'!r} is computed by the model",
                where=describe(node),
                remedy="export the model in eval mode, with constant weights",
            )
    return [array for array in found if array is not None]


def sizes(node: ir.Node, value: ir.Value | None) -> list[int]:
    """The sizes of a value. Raises UnsupportedError for one that is not known now."""
    found = shape(value)
    if found is None or None in found:
        raise UnsupportedError(
            f"the shape of {value.name if value else '(absent)'!r} is not known before it runs",
            where=describe(node),
            remedy="export with --batch N and a fixed --image-size",
        )
    return [size for size in found if size is not None]
