"""Casts where a value is read in another type than it is made in, one for all such readers.

MatMul (low) -> y -> Mul (float32), Softmax (float32), Add (low)
  =>   y -> Cast -> Mul, Softmax;   y -> Add
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from attnc.compiler.provenance import copy_metadata
from attnc.passes.graph import fresh_name, new_node
from attnc.passes.precision.low import FLOAT, is_float
from attnc.passes.precision.plan import Plan


@dataclass(frozen=True)
class Border:
    """A value made as `given`, with those of its readers (and outputs) that want `other`."""

    value: ir.Value
    given: ir.DataType
    other: ir.DataType
    uses: tuple[tuple[ir.Node, int], ...]
    outputs: tuple[int, ...]


def find_borders(plan: Plan) -> list[Border]:
    """All borders. To be called before any type is changed."""
    return list(_borders(plan))


def _borders(plan: Plan) -> Iterator[Border]:
    graph, outside = plan.graph, plan.outside
    made = [(v, outside) for v in graph.inputs if is_float(v)]
    made += [(v, plan.given(v)) for node in graph for v in node.outputs if is_float(v)]
    for value, given in made:
        other = plan.low.dtype if given == FLOAT else FLOAT
        uses = [(use.node, use.idx) for use in value.uses()]
        uses = [use for use in uses if plan.wanted(*use) == other]
        places = [i for i, out in enumerate(graph.outputs) if out is value and outside == other]
        if uses or places:
            yield Border(value, given, other, tuple(uses), tuple(places))


def insert_cast(graph: ir.Graph, border: Border) -> None:
    """Put the Cast right behind the producer."""
    value, name = border.value, border.other.name.lower()
    producer = value.producer()
    cast = new_node("Cast", [value], {"to": border.other}, like=value)
    out = cast.outputs[0]
    out.type = ir.TensorType(border.other)
    cast.name = f"{value.name}/to_{name}"
    out.name = fresh_name(graph, f"{value.name}_{name}")
    copy_metadata([producer] if producer is not None else [n for n, _ in border.uses[:1]], [cast])
    if producer is not None:
        graph.insert_after(producer, cast)
    else:
        graph.insert_before(graph[0], cast)
    for node, index in border.uses:
        node.replace_input_with(index, out)
    for index in border.outputs:
        graph.outputs[index] = out
    if border.outputs:  # the output's name belongs to the new value
        inner = fresh_name(graph, f"{value.name}_{border.given.name.lower()}")
        value.name, out.name = inner, value.name
