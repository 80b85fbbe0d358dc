"""Tokens and pixels held channels first, combined with constants and values that broadcast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("coremltools")

from coreml_graphs import BATCH, COUNT, HEIGHT, WIDE, WIDTH, Graph, check, held_pixels, held_tokens

#: Constants that are combined with tokens [B,N,C] and with pixels [B,H,W,C].
TOKENS_BESIDE = (
    [WIDE],
    [1],
    [],
    [1, 1],
    [1, 1, 1],
    [1, WIDE],
    [1, 1, WIDE],
    [COUNT, WIDE],
    [COUNT, 1],
)
TOKENS_BESIDE += (
    [1, COUNT, WIDE],
    [1, COUNT, 1],
    [BATCH, 1, WIDE],
    [BATCH, COUNT, WIDE],
    [BATCH, 1, 1],
)
PIXELS_BESIDE = ([WIDE], [1], [], [1, 1, 1, 1], [1, 1, 1, WIDE], [BATCH, HEIGHT, WIDTH, WIDE])
PIXELS_BESIDE += (
    [HEIGHT, WIDTH, WIDE],
    [HEIGHT, 1, 1],
    [WIDTH, WIDE],
    [WIDTH, 1],
    [1, HEIGHT, 1, WIDE],
)
PIXELS_BESIDE += ([1, HEIGHT, WIDTH, 1], [BATCH, 1, 1, 1], [1, WIDTH, WIDE], [HEIGHT, WIDTH, 1])


def combined(make: Callable[[Graph], ir.Value], shapes: Any) -> ir.Model:
    graph = Graph()
    x = make(graph)
    outputs = []
    for index, shape in enumerate(shapes):
        beside = 1.5 + np.abs(graph.random(*shape))
        kind = ("Add", "Sub", "Mul", "Div")[index % 4]
        outputs += [graph.op(kind, x, beside), graph.op("Sub", beside, x)]
    return graph.model(*outputs)


@pytest.mark.parametrize("ios", [16, 18])
@pytest.mark.parametrize(
    ("make", "shapes"), [(held_tokens, TOKENS_BESIDE), (held_pixels, PIXELS_BESIDE)]
)
def test_constants_of_every_broadcast_shape(
    make: Callable[[Graph], ir.Value], shapes: Any, ios: int
) -> None:
    check(combined(make, shapes), ios)


@pytest.mark.parametrize(
    "shape", [[1, COUNT, WIDE], [COUNT, WIDE], [WIDE], [1, 1, WIDE], []], ids=str
)
def test_a_constant_beside_tokens_costs_no_turn(shape: list[int]) -> None:
    graph = Graph()
    x = held_tokens(graph)
    added = graph.shaped("Add", [BATCH, COUNT, WIDE], x, graph.random(*shape))
    assert check(graph.model(graph.map_of(added, HEIGHT, WIDTH)))["transpose"] == 0


def test_constants_that_make_tokens_larger() -> None:
    graph = Graph()
    one = held_tokens(graph, 1)
    outputs = [
        graph.op("Add", one, graph.random(3, COUNT, WIDE)),
        graph.op("Mul", one, graph.random(2, 1, 1, 1)),
    ]
    check(graph.model(*outputs))


def test_values_that_broadcast_against_each_other() -> None:
    graph = Graph()
    x = held_tokens(graph)
    row = graph.linear(graph.input(BATCH, 1, 5, name="row"), WIDE)
    column = graph.input(BATCH, COUNT, 1, name="column")
    flat = graph.input(WIDE, name="flat")
    same = graph.input(BATCH, COUNT, WIDE, name="same")
    outputs = [graph.op("Add", x, other) for other in (row, column, flat, same)]
    check(graph.model(*outputs, graph.op("Sub", same, x), graph.op("Mul", x, x)))
