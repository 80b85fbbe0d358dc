"""Which operations stay float32: by reading, and in programs whose numbers float16 cannot hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("coremltools")

from coreml_graphs import Graph, close, copy_of, lowered
from programs import evaluate
from rewriting import compute, random_feeds

from attnc.runtimes.coreml.ranges import record_ranges
from attnc.targets.coreml.emit import Wish, lower_for
from attnc.targets.coreml.lower import Lowered
from attnc.targets.coreml.precision import Readings, islands
from attnc.targets.coreml.writer import type_name

LARGE = 65504 / 4


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        ({"largest": LARGE * 1.01, "read": 1.0}, "its values reach 1.65e+04"),
        ({"largest": 1.0, "read": LARGE * 1.01}, "it reads values up to 1.65e+04"),
        ({"largest": 1.0, "squares": 2e5, "epsilon": 1e-5, "variance": 1.0}, "squares inside it"),
        ({"epsilon": 1e-6, "variance": 1e-5}, "its epsilon of 1e-06 vanishes"),
        ({"epsilon": 1e-12, "variance": 0.0}, "its epsilon of 1e-12 vanishes"),
    ],
    ids=["largest", "read", "squares", "epsilon", "no variance"],
)
def test_reasons(reading: dict[str, float], reason: str) -> None:
    (found,) = islands({"there": reading}).values()
    assert reason in found


@pytest.mark.parametrize(
    "reading",
    [
        {"largest": LARGE * 0.99, "read": LARGE * 0.99, "squares": LARGE * 0.99},
        {"epsilon": 1e-3, "variance": 1e-6},
        {"epsilon": 1e-6, "variance": 1.0},
        {"epsilon": 0.0, "variance": 0.0},
        {},
    ],
    ids=["within", "epsilon that fits", "epsilon that nobody sees", "no epsilon", "nothing"],
)
def test_no_reason(reading: dict[str, float]) -> None:
    assert islands({"there": reading}) == {}


def half(model: ir.Model, feeds: dict[str, np.ndarray]) -> Lowered:
    """The float16 program, with the islands that these feeds ask for."""

    def record(package: Path) -> Readings:
        (value,) = feeds.values()
        return record_ranges(package, [value])

    return lower_for(copy_of(model), 17, Wish("fp16"), record)


def judged(model: ir.Model, feeds: dict[str, np.ndarray], limit: float = 5e-3) -> Lowered:
    """The float16 program, which gives the float32 graph's numbers."""
    made = half(model, feeds)
    for got, want in zip(evaluate(made, 17, feeds), compute(model, feeds), strict=True):
        close(got, want, limit)
    return made


def kinds(made: Lowered) -> list[str]:
    """The operations in order, "fp32 " before those that give float32."""
    main = made.program["main"]
    return [
        ("fp32 " if type_name(o.outputs[0]) == "fp32" else "") + o.op_type
        for o in main.operations
        if o.op_type not in ("const", "identity")
    ]


def test_values_beyond_float16_stay_between_two_casts() -> None:
    graph = Graph()
    x = graph.input(1, 6)
    large = graph.op("Mul", graph.op("Relu", x), np.float32(3e4))
    small = graph.op(
        "Mul", graph.op("Tanh", graph.op("Mul", large, np.float32(1e-4))), np.float32(2)
    )
    model = graph.model(graph.op("Neg", small))
    made = judged(model, random_feeds(model))
    assert kinds(made) == [
        *("relu", "fp32 cast", "fp32 mul", "fp32 mul", "cast", "tanh", "mul", "mul"),
    ]
    assert {reason[:10] for reason in made.wide.values()} == {"it reads v", "its values"}


def test_a_program_within_float16_has_no_island() -> None:
    graph = Graph()
    model = graph.model(graph.linear(graph.input(1, 4, 6), 5))
    made = judged(model, random_feeds(model))
    assert made.wide == {}
    assert "cast" not in " ".join(kinds(made))


def norm(epsilon: float, size: float) -> tuple[ir.Model, dict[str, np.ndarray]]:
    graph = Graph()
    x = graph.input(1, 4, 16)
    how = {"axis": -1, "epsilon": epsilon}
    made = graph.op("LayerNormalization", x, graph.random(16), graph.random(16), **how)
    model = graph.model(graph.op("Relu", made))
    return model, {name: array * size for name, array in random_feeds(model).items()}


def test_an_epsilon_that_counts_and_vanishes() -> None:
    model, feeds = norm(1e-6, 0.1)
    assert judged(model, feeds).wide == {}  # a variance of 4e-3: nobody sees it
    model, feeds = norm(1e-6, 1e-3)
    made = judged(model, feeds)
    assert [reason[:10] for reason in made.wide.values()] == ["its epsilo"]
    assert kinds(made) == ["fp32 cast", "fp32 layer_norm", "cast", "relu"]


def test_squares_that_overflow_inside_a_norm() -> None:
    model, feeds = norm(1e-5, 500.0)
    made = judged(model, feeds)
    assert ["squares" in reason for reason in made.wide.values()] == [True]
    assert "fp32 layer_norm" in kinds(made)


def test_the_same_value_is_cast_once() -> None:
    graph = Graph()
    x = graph.op("Relu", graph.input(1, 6))
    outputs = [graph.op("Mul", x, np.float32(factor)) for factor in (4e4, 5e4)]
    model = graph.model(*(graph.op("Mul", y, np.float32(1e-5)) for y in outputs))
    made = judged(model, random_feeds(model))
    assert kinds(made).count("fp32 cast") == 1
    assert kinds(made).count("fp32 mul") == 4


def test_masks_of_minus_infinity_are_no_reason() -> None:
    graph = Graph()
    mask = np.where(np.arange(6) < 4, 0, np.finfo(np.float32).min).astype(np.float32)
    masked = graph.op("Add", graph.input(1, 6), mask)
    model = graph.model(graph.op("Softmax", masked, axis=-1))
    made = half(model, random_feeds(model))
    assert kinds(made) == ["add", "softmax"]
    (got,) = evaluate(made, 17, random_feeds(model))
    close(got, compute(model, random_feeds(model))[0], 5e-3)


def test_float32_has_no_islands() -> None:
    graph = Graph()
    model = graph.model(graph.op("Mul", graph.input(1, 6), np.float32(1e30)))
    made = lower_for(copy_of(model), 17, Wish("fp32"), lambda _: pytest.fail("nothing to record"))
    assert made.wide == {}
    assert kinds(made) == ["fp32 mul"]


def test_names_of_operations_are_those_of_the_float32_program() -> None:
    model, feeds = norm(1e-6, 1e-3)
    made = half(model, feeds)
    plain = lowered(model, 17)
    names = {o.name for o in plain.program["main"].operations if o.op_type != "const"}
    own = {o.name for o in made.program["main"].operations if o.op_type not in ("const", "cast")}
    assert own == names
