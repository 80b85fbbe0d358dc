"""Random chains of nodes on tokens, in either form, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("coremltools")

from coreml_graphs import COUNT, WIDE, Graph, check, held_tokens


def norm(graph: Graph, x: ir.Value) -> ir.Value:
    wide = int(x.shape[-1])
    weights = graph.random(wide), graph.random(wide)
    return graph.shaped("LayerNormalization", x.shape, x, *weights, axis=-1)


def relu(graph: Graph, x: ir.Value) -> ir.Value:
    return graph.shaped("Relu", x.shape, x)


def linear(graph: Graph, x: ir.Value) -> ir.Value:
    return graph.linear(x, 5 if int(x.shape[-1]) == WIDE else WIDE)


def add(graph: Graph, x: ir.Value) -> ir.Value:
    return graph.shaped("Add", x.shape, graph.random(*x.shape[1:]), x)


def mul(graph: Graph, x: ir.Value) -> ir.Value:
    return graph.shaped("Mul", x.shape, x, graph.random(int(x.shape[1]), 1))


def residual(graph: Graph, x: ir.Value) -> ir.Value:
    return graph.shaped("Add", x.shape, x, relu(graph, norm(graph, x)))


def join(graph: Graph, x: ir.Value) -> ir.Value:
    batch, count, wide = map(int, x.shape)
    both = [batch, 2 * count, wide]
    return graph.shaped("Concat", both, x, graph.random(batch, count, wide), axis=1)


def through_map(graph: Graph, x: ir.Value) -> ir.Value:
    _, count, wide = map(int, x.shape)
    return graph.tokens(graph.fused_conv(graph.map_of(x, 2, count // 2), wide))


def turned(graph: Graph, x: ir.Value) -> ir.Value:
    batch, count, wide = map(int, x.shape)
    return graph.shaped("Transpose", [batch, wide, count], x, perm=[0, 2, 1])


def through_rows(graph: Graph, x: ir.Value) -> ir.Value:
    rows = turned(graph, x)
    return turned(graph, graph.shaped("Sigmoid", rows.shape, rows))


def unflattened(graph: Graph, x: ir.Value) -> ir.Value:
    batch, count, wide = map(int, x.shape)
    sizes = [batch, wide, 2, count // 2]
    return graph.tokens(graph.shaped("Reshape", sizes, turned(graph, x), np.array(sizes)))


def halves(graph: Graph, x: ir.Value) -> ir.Value:
    batch, count, wide = map(int, x.shape)
    ends = [(0, count // 2), (count // 2, count)]
    parts = [
        graph.shaped("Slice", [batch, count // 2, wide], x, *(np.array([n]) for n in (*end, 1)))
        for end in ends
    ]
    return graph.shaped("Concat", [batch, count, wide], *reversed(parts), axis=1)


STEPS = (
    *(norm, relu, linear, add, mul, residual, join),
    *(through_map, through_rows, unflattened, halves),
)


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(STEPS), min_size=2, max_size=6),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.sampled_from([16, 18]),
)
def test_random_chains(
    steps: list[Callable[[Graph, ir.Value], ir.Value]], batch: int, from_map: bool, ios: int
) -> None:
    graph = Graph()
    x = held_tokens(graph, batch) if from_map else graph.input(batch, COUNT, WIDE)
    values = [x]
    for step in steps:
        values.append(step(graph, values[-1]))
    check(graph.model(values[-1], graph.op("Neg", values[len(values) // 2])), ios, 2e-5)
