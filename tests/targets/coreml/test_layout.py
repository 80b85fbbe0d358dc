"""Channels first and as the graph has it: no turn too many, and the same numbers in both forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("coremltools")

from coreml_graphs import (
    BATCH,
    COUNT,
    HEIGHT,
    WIDE,
    WIDTH,
    Graph,
    check,
    held_map,
    held_pixels,
    held_tokens,
    lowered,
)

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops.attention import packed


def norm(graph: Graph, x: ir.Value) -> ir.Value:
    sizes = list(map(int, x.shape))
    how = {"axis": -1, "epsilon": 1e-5}
    return graph.shaped(
        "LayerNormalization", sizes, x, graph.random(WIDE), graph.random(WIDE), **how
    )


@pytest.mark.parametrize("ios", [16, 18])
def test_a_block_on_tokens_of_a_map_needs_no_turn(ios: int) -> None:
    graph = Graph()
    x = held_tokens(graph)
    y = graph.shaped("Gelu", list(x.shape), graph.linear(norm(graph, x), WIDE))
    x = graph.shaped("Add", list(x.shape), x, y)
    y = graph.fused("NormLinear", x, graph.random(WIDE, WIDE), graph.random(WIDE), epsilon=1e-5)
    x = graph.fused(
        "LinearAdd", y, graph.random(WIDE, WIDE), graph.random(WIDE), x, min=0.0, max=6.0
    )
    back = graph.fused_conv(graph.map_of(x, HEIGHT, WIDTH), 4)
    found = check(graph.model(back), ios)
    assert found["transpose"] == 0
    assert found["reshape"] == 0
    assert found["linear"] == 0


@pytest.mark.parametrize(("ios", "turns"), [(16, 0), (18, 2)])
def test_attention_between_maps(ios: int, turns: int) -> None:
    graph = Graph()
    heads = packed(2, 3, 3)
    qkv = graph.linear(held_tokens(graph), 18)
    out = graph.linear(graph.fused("Attention", qkv, qkv, **heads), WIDE)
    found = check(graph.model(graph.fused_conv(graph.map_of(out, HEIGHT, WIDTH), 4)), ios)
    assert found["transpose"] == turns  # iOS 18's attention takes rows: in, and out again
    assert found["linear"] == 0


def test_tokens_by_flattening_the_map_first() -> None:
    graph = Graph()
    flat = graph.shaped(
        "Reshape", [BATCH, WIDE, COUNT], held_map(graph), np.array([BATCH, WIDE, -1])
    )
    x = graph.shaped("Transpose", [BATCH, COUNT, WIDE], flat, perm=[0, 2, 1])
    x = graph.linear(norm(graph, x), WIDE)
    turned = graph.shaped("Transpose", [BATCH, WIDE, COUNT], x, perm=[0, 2, 1])
    sizes = [BATCH, WIDE, HEIGHT, WIDTH]
    back = graph.shaped("Reshape", sizes, turned, np.array(sizes))
    assert check(graph.model(graph.fused_conv(back, 4)))["transpose"] == 0


def test_tokens_that_leave_are_turned_once() -> None:
    graph = Graph()
    x = held_tokens(graph)
    y = graph.linear(x, WIDE)
    model = graph.model(graph.op("Softmax", y, axis=1), graph.op("CumSum", y, np.array(1)))
    assert check(model)["transpose"] == 1


def test_tokens_that_come_in_stay_rows() -> None:
    graph = Graph()
    x = graph.input(BATCH, COUNT, WIDE)
    found = check(graph.model(graph.linear(norm(graph, x), 4)))
    assert found["transpose"] == 0
    assert found["linear"] == 1


def test_both_forms_of_a_value_are_made_once() -> None:
    graph = Graph()
    x = graph.input(BATCH, COUNT, WIDE)
    maps = [
        graph.fused(
            "GridPool",
            graph.shaped(
                "Reshape", [BATCH, HEIGHT, WIDTH, WIDE], x, np.array([BATCH, HEIGHT, WIDTH, WIDE])
            ),
            grid=[1, size],
        )
        for size in (1, 2)
    ]
    found = check(graph.model(*maps, graph.op("Relu", x)))
    assert found["transpose"] <= 3


def test_parts_of_tokens() -> None:
    graph = Graph()
    x = held_tokens(graph)
    first = graph.op("Gather", x, np.array(0), axis=1)
    outputs = [
        first,
        graph.op("Gather", x, np.array([-1]), axis=1),
        graph.op("Gather", x, np.array([2, 3, 4]), axis=1),
        graph.op("Gather", x, np.array([4, 1]), axis=1),
        graph.op("Gather", x, np.array(1), axis=0),
        graph.op("Gather", x, np.array([1, 2]), axis=2),
        graph.op("Gather", x, np.array([[1, 2], [3, 4]]), axis=1),
        graph.op("Gather", x, np.array([[1, 2]]), axis=1),
    ]
    check(graph.model(*outputs))


@pytest.mark.parametrize(
    ("begin", "end", "axis", "step"),
    [
        (0, 1, 1, 1),
        (1, 2**40, 1, 1),
        (-3, -1, 1, 1),
        (0, 2**40, -2, 1),
        (1, 9, 1, 2),
        (11, 2, 1, -3),
        (1, 4, 2, 1),
        (0, 1, 0, 1),
        (-(2**40), 3, 1, 1),
    ],
)
def test_slices_of_tokens(begin: int, end: int, axis: int, step: int) -> None:
    graph = Graph()
    bounds = [np.array([number]) for number in (begin, end, axis, step)]
    cut = graph.op("Slice", held_tokens(graph), *bounds)
    check(graph.model(graph.op("Relu", cut)))


def test_the_class_token_alone() -> None:
    graph = Graph()
    row = graph.shaped(
        "Slice", [BATCH, 1, WIDE], held_tokens(graph), *map(np.array, ([0], [1], [1]))
    )
    flat = graph.shaped("Squeeze", [BATCH, WIDE], row, np.array([1]))
    again = graph.shaped("Reshape", [BATCH, WIDE], row, np.array([BATCH, WIDE]))
    found = check(graph.model(graph.linear(flat, 3), graph.linear(again, 3)))
    assert found["transpose"] == 0


def test_squeezes_of_one_picture() -> None:
    graph = Graph()
    x = held_tokens(graph, 1)
    row = graph.op("Slice", x, np.array([2]), np.array([3]), np.array([1]))
    outputs = [
        graph.op("Squeeze", value, np.array(axes))
        for value, axes in ((x, [0]), (row, [0, 1]), (row, [0]))
    ]
    check(graph.model(*outputs, graph.op("Squeeze", row)))


@pytest.mark.parametrize("make", [held_tokens, held_pixels])
@pytest.mark.parametrize("keep", [0, 1])
def test_means(make: Callable[[Graph], ir.Value], keep: int) -> None:
    graph = Graph()
    x = make(graph)
    middle = list(range(1, len(x.shape) - 1))
    choices = [middle, [1], [-1], [-2], [0], [0, *middle], list(range(len(x.shape)))]
    outputs = [graph.op("ReduceMean", x, np.array(axes), keepdims=keep) for axes in choices]
    check(graph.model(*outputs))


def test_mean_over_tokens_costs_no_turn() -> None:
    graph = Graph()
    mean = graph.shaped("ReduceMean", [BATCH, WIDE], held_tokens(graph), np.array([1]), keepdims=0)
    assert check(graph.model(graph.linear(mean, 3)))["transpose"] == 0


def test_joined_tokens() -> None:
    graph = Graph()
    x = held_tokens(graph)
    row = graph.input(BATCH, 1, WIDE, name="row")
    beside = graph.input(BATCH, COUNT, 3, name="beside")
    learned = graph.random(BATCH, 2, WIDE)
    outputs = [
        graph.op("Concat", row, x, axis=1),
        graph.op("Concat", x, learned, x, axis=-2),
        graph.op("Concat", x, beside, axis=2),
        graph.op("Concat", graph.random(BATCH, COUNT, 2), x, axis=-1),
        graph.op("Concat", x, x, axis=0),
    ]
    check(graph.model(*outputs))


def test_joined_pixels() -> None:
    graph = Graph()
    x = held_pixels(graph)
    check(graph.model(*(graph.op("Concat", x, x, axis=axis) for axis in (0, 1, 2, 3, -1))))


def test_a_class_token_in_front_costs_no_turn() -> None:
    graph = Graph()
    whole = graph.shaped(
        "Concat", [BATCH, COUNT + 1, WIDE], graph.random(BATCH, 1, WIDE), held_tokens(graph), axis=1
    )
    cls = graph.shaped("Gather", [BATCH, WIDE], graph.linear(whole, WIDE), np.array(0), axis=1)
    assert check(graph.model(graph.linear(cls, 3)))["transpose"] == 0


def test_activations_and_norms_of_pixels() -> None:
    graph = Graph()
    x = held_pixels(graph)
    outputs = [graph.op(kind, x) for kind in ("Relu", "Sigmoid", "Tanh", "Gelu")]
    outputs += [graph.op("Gelu", x, approximate="tanh"), norm(graph, x)]
    outputs += [graph.op("LayerNormalization", x, graph.random(WIDTH, WIDE), axis=2)]
    check(graph.model(*outputs))


@pytest.mark.parametrize(
    "perm", [[0, 1, 2, 3], [0, 3, 1, 2], [0, 3, 2, 1], [3, 0, 1, 2], [0, 2, 1, 3]], ids=str
)
def test_other_turns_of_pixels(perm: list[int]) -> None:
    graph = Graph()
    check(graph.model(graph.op("Transpose", held_pixels(graph), perm=perm)))


def test_reshapes_that_are_no_tokens() -> None:
    graph = Graph()
    x = held_pixels(graph)
    targets = ([BATCH, COUNT * WIDE], [BATCH * COUNT, WIDE], [BATCH, WIDTH, HEIGHT, WIDE])
    targets += ([BATCH, HEIGHT, WIDTH * WIDE], [BATCH, 1, COUNT, WIDE], [1, BATCH * COUNT, WIDE])
    targets += ([BATCH, COUNT, 2, 3],)
    reshaped = [graph.op("Reshape", x, np.array(target)) for target in targets]
    check(graph.model(*(graph.op("Neg", value) for value in reshaped)))


def test_one_channel_or_one_token() -> None:
    graph = Graph()
    rows, column = graph.input(BATCH, 1, 7, name="rows"), graph.input(BATCH, 7, 1, name="column")
    point = graph.tokens(graph.fused_conv(graph.input(BATCH, 5, 1, 1), 3))
    thin = graph.tokens(graph.fused_conv(graph.input(BATCH, 5, 2, 3, name="thin"), 1))
    outputs = [graph.linear(rows, 4), graph.linear(column, 4), graph.linear(point, 4)]
    check(
        graph.model(*outputs, graph.linear(thin, 4), graph.op("Neg", point), graph.op("Neg", thin))
    )


def test_a_slice_of_nothing_is_refused() -> None:
    graph = Graph()
    bounds = [np.array([number]) for number in (4, 4, 1)]
    empty = graph.op("Slice", held_tokens(graph), *bounds)
    with pytest.raises(UnsupportedError, match="no elements"):
        lowered(graph.model(empty))
