"""What ranks tokens stays float32: from a TopK back to the product that made the scores.

q, k -> MatMul -> Mul -> Softmax -> Slice -> ReduceMean -> TopK
                            `-> MatMul(., v)
  float32: Mul ... TopK, behind a Cast; the Softmax is cast down again where it enters the MatMul

What derives from scores alone (gathered weights, their renormalisation, a comparison with the
k-th of them) stays float32 as well, up to the next product.
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.passes.graph import is_op
from attnc.passes.precision.kinds import COMPARISONS, NORMS, RANKINGS, is_border, is_product
from attnc.passes.precision.low import is_float
from attnc.passes.precision.plan import Plan, computed

REASON = "it ranks tokens"


def keep_rankings(plan: Plan) -> None:
    """Scores, and what derives from them."""
    scores = dict[ir.Node, None]()
    for node in plan.graph:
        if is_op(node, *RANKINGS) and is_float(node.inputs[0]):
            _back(node, scores)
    for node in plan.graph:
        if node in scores or _derives(node, scores):
            scores[node] = None
            plan.keep(node, REASON)


def _back(ranking: ir.Node, scores: dict[ir.Node, None]) -> None:
    stack = [ranking]
    while stack:
        node = stack.pop()
        if node in scores:
            continue
        scores[node] = None
        for value in computed(node):
            producer = value.producer()
            if producer is not None and not _ends(producer):
                stack.append(producer)


def _ends(node: ir.Node) -> bool:
    """A product or a norm rounds once, at its end; behind it lies another matter."""
    return is_product(node) or is_op(node, *NORMS) or is_border(node)


def _derives(node: ir.Node, scores: dict[ir.Node, None]) -> bool:
    sources = [value.producer() in scores for value in computed(node)]
    if _ends(node) or not any(sources):
        return False
    return all(sources) or is_op(node, *COMPARISONS)
