"""A constant choice of tokens moves up, from what reads it towards the inputs.

x -> Attention -> LinearAdd(x) -> Mlp -> LayerNorm -> x[:, 0]
=>  x[:, 0] -+-> Attention(., x) -> LinearAdd -> Mlp -> LayerNorm, all on one row
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.demand.steps import ALONE, STEPS, Rows
from attnc.passes.graph import (
    STANDARD,
    attribute,
    const,
    constant,
    input_at,
    ints,
    is_op,
    new_node,
    replace,
    shape,
)


@dataclass(frozen=True)
class Choice:
    """Which rows of `value` [B, N, C] a node takes; `drops_axis`: one row, as [B, C]."""

    value: ir.Value
    rows: tuple[int, ...]
    drops_axis: bool


class NarrowRows(AnchorPass):
    """Row-wise operators, and the queries of attention, run on the rows that are read later."""

    name = "narrow_rows"
    reason = "a head that reads one token needs one row of the last block, not all of them"
    anchors = frozenset({"Gather", "Slice"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Moves the choice above the operator that makes its input."""
        choice = choice_of(node)
        if choice is None:
            return False
        producer = choice.value.producer()
        if producer is None:
            return False
        key = "" if producer.domain in STANDARD else producer.domain, producer.op_type
        if key not in STEPS or not _all_take(choice, graph, node):
            return False
        alone = choice.drops_axis and key in ALONE
        new = STEPS[key](producer, choice.value, Rows(choice.rows, alone), graph)
        if new is None:
            return False
        if choice.drops_axis and not alone:
            axes = constant(graph, np.array([1], np.int64), "token_axis")
            batch, _, width = list(new[-1].outputs[0].shape or [])
            squeezed = [new[-1].outputs[0], axes]
            new.append(new_node("Squeeze", squeezed, like=choice.value, sizes=[batch, width]))
        replace(graph, node, [producer], new)
        return True


def choice_of(node: ir.Node) -> Choice | None:
    """The rows that a Gather or Slice takes from tokens; None where it takes all, or others."""
    value = node.inputs[0]
    sizes = shape(value)
    if value is None or sizes is None or len(sizes) != 3 or sizes[1] is None:
        return None
    every, drops = np.arange(sizes[1]), False
    if is_op(node, "Gather"):
        index = const(input_at(node, 1))
        if attribute(node, "axis", 0) % 3 != 1 or index is None or index.ndim > 1:
            return None
        rows, drops = every[index.reshape(-1)], index.ndim == 0
    else:
        starts, ends, axes, steps = (ints(input_at(node, place)) for place in range(1, 5))
        if starts is None or ends is None or axes is None or [a % 3 for a in axes] != [1]:
            return None
        rows = every[slice(starts[0], ends[0], steps[0] if steps else 1)]
    if not len(rows) or len(rows) >= sizes[1]:
        return None
    return Choice(value, tuple(int(row) for row in rows), drops)


def _all_take(choice: Choice, graph: ir.Graph, node: ir.Node) -> bool:
    """Whether every reader takes the same rows; the readers then read `node` instead."""
    others = {use.node for use in choice.value.uses()} - {node}
    if choice.value.is_graph_output() or any(other.graph is not node.graph for other in others):
        return False
    if any(choice_of(other) != choice for other in others):
        return False
    for other in others:
        if list(graph).index(other) < list(graph).index(node):
            return False  # the earlier one is visited first
        ir.convenience.replace_all_uses_with(
            other.outputs[0], node.outputs[0], replace_graph_outputs=True
        )
        graph.remove(other, safe=True)
    return True
