"""Products written as Einsum become MatMuls between Transposes.

Einsum("bci,bcj->bij", q, k)        =>        MatMul(Transpose(q), k)
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import Refuse, attribute, new_node, replace


@dataclass(frozen=True)
class Product:
    """Einsum of two tensors as a batched matrix product; letters are axes."""

    left: str
    right: str
    out: str
    batch: str
    row: str
    column: str
    summed: str


class CanonicalEinsum(AnchorPass):
    """Einsum of two operands that sums over one axis and keeps one of each."""

    name = "canonical_einsum"
    reason = "authors write attention's products as einsum; a MatMul is what patterns know"
    anchors = frozenset({"Einsum"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Replaces the node by a MatMul, with Transposes where axes are out of order."""
        product = read_equation(attribute(node, "equation", ""), len(node.inputs))
        if product is None:
            raise Refuse(f"{attribute(node, 'equation')!r} is not a plain product of two matrices")
        news: list[ir.Node] = []
        operands = []
        for index, (have, want) in enumerate(
            (
                (product.left, product.batch + product.row + product.summed),
                (product.right, product.batch + product.summed + product.column),
            )
        ):
            operands.append(_ordered(node.inputs[index], have, want, news))
        result = product.batch + product.row + product.column
        matmul = new_node("MatMul", operands)
        news.append(matmul)
        value = matmul.outputs[0]
        out = node.outputs[0]
        if out.shape is not None:
            sizes = dict(zip(product.out, out.shape, strict=True))
            value.type, value.shape = out.type, ir.Shape([sizes[letter] for letter in result])
        _ordered(value, result, product.out, news)
        replace(graph, node, [], news)
        return True


def read_equation(equation: str | bytes, operands: int) -> Product | None:
    """The product that the equation writes; None for traces, broadcasts, outer products, ..."""
    text = equation.decode() if isinstance(equation, bytes) else equation
    left, _, rest = text.replace(" ", "").partition(",")
    right, arrow, out = rest.partition("->")
    parts = (left, right, out)
    if operands != 2 or not arrow or not all(p.isalpha() and len({*p}) == len(p) for p in parts):
        return None
    batch = "".join(letter for letter in out if letter in left and letter in right)
    row = "".join(letter for letter in left if letter in out and letter not in right)
    column = "".join(letter for letter in right if letter in out and letter not in left)
    summed = "".join(letter for letter in left if letter in right and letter not in out)
    if not len(row) == len(column) == len(summed) == 1:
        return None
    used = {*batch, row, column, summed}
    if {*left, *right} != used or {*out} != used - {summed}:
        return None
    return Product(left, right, out, batch, row, column, summed)


def _ordered(value: ir.Value | None, have: str, want: str, news: list[ir.Node]) -> ir.Value | None:
    """`value` with its axes in the order `want`; a Transpose is added to `news` if needed."""
    if have == want or value is None:
        return value
    perm = [have.index(letter) for letter in want]
    sizes = None if value.shape is None else [value.shape[axis] for axis in perm]
    news.append(new_node("Transpose", [value], {"perm": perm}, like=value, sizes=sizes))
    return news[-1].outputs[0]
