"""Einsum of two values as one batched matrix product, with what turns its axes into order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.passes.graph import attribute
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.values import check_shape, operand, refusal, settle
from attnc.targets.coreml.writer import is_var, sizes, volume


def _einsum(node: ir.Node, to: Forms) -> None:
    """Axes of both sides are batch if they are in the result, and contracted if not."""
    left, right, out = _terms(node)
    x, y = operand(node, to, 0), operand(node, to, 1)
    size = dict(zip(left + right, sizes(x) + sizes(y), strict=True))
    batch = [axis for axis in out if axis in left and axis in right]
    summed = [axis for axis in left if axis in right and axis not in out]
    rows = [axis for axis in left if axis not in right]
    columns = [axis for axis in right if axis not in left]
    grid = [
        [volume(size[axis] for axis in axes) for axes in (batch, *pair)]
        for pair in ((rows, summed), (summed, columns), (columns, summed))
    ]
    first = to.reshape(_turned(node, to, x, left, batch + rows + summed), grid[0])
    across = right == "".join(batch + columns + summed)
    order = batch + columns + summed if across else batch + summed + columns
    second = to.reshape(_turned(node, to, y, right, order), grid[2 if across else 1])
    made = to.emit("matmul", x=first, y=second, transpose_y=across)
    found = batch + rows + columns
    check_shape(node, [size[axis] for axis in out])
    made = to.reshape(made, [size[axis] for axis in found])
    settle(node, to, _turned(node, to, made, "".join(found), list(out)))


def _terms(node: ir.Node) -> tuple[str, str, str]:
    """The axes of both values and of the result. Refuses what is no matrix product."""
    equation = attribute(node, "equation").replace(" ", "")
    terms, arrow, out = equation.partition("->")
    parts = terms.split(",")
    plain = bool(arrow) and "." not in equation and len(parts) == 2
    if not plain or any(len(set(part)) < len(part) for part in (*parts, out)):
        raise _no_product(node, equation)
    left, right = parts
    if any((axis in left) + (axis in right) + (axis in out) < 2 for axis in left + right):
        raise _no_product(node, equation)
    return left, right, out


def _no_product(node: ir.Node, equation: str) -> UnsupportedError:
    return refusal(
        node,
        f"the equation {equation!r} is no product of two matrices",
        "write it with MatMul, Mul and ReduceSum",
    )


def _turned(node: ir.Node, to: Forms, x: Any, have: str, want: list[str]) -> Any:
    perm = [have.index(axis) for axis in want]
    if perm == sorted(perm):
        return x
    if not is_var(x):
        return x.transpose(perm)
    check_shape(node, list(sizes(x)))
    return to.emit("transpose", x=x, perm=perm)


OPERATORS: dict[str, Callable[[ir.Node, Forms], None]] = {"Einsum": _einsum}
