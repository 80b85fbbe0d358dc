"""Preprocessing built into the graph: the numbers of normalising outside, with and without pads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("coremltools")

from coreml_graphs import (
    FREE,
    POINT,
    WINDOW,
    Graph,
    answers,
    close,
    copy_of,
    cosine,
    lowered,
    operations,
)
from rewriting import compute, counts

from attnc.compiler.manifest import Preprocessing
from attnc.targets.coreml.pictures import build_in

RULE = Preprocessing(
    image_size=(8, 6),
    interpolation="bicubic",
    crop_fraction=0.9,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
PIXELS = np.random.default_rng(5).integers(0, 256, (1, 3, 8, 6)).astype(np.float32)
PATCHES = {**POINT, "kernel_shape": [2, 2], "strides": [2, 2]}


def normalised(pixels: np.ndarray) -> np.ndarray:
    mean, std = (np.asarray(x, np.float64)[None, :, None, None] for x in (RULE.mean, RULE.std))
    return np.asarray((pixels / 255 - mean) / std)


def built(model: ir.Model, operators: dict[str, int], limit: float = 1e-5) -> ir.Model:
    """The model with its preprocessing: on pixels it gives what it gave on normalised ones."""
    twin = copy_of(model)
    build_in(twin, RULE)
    assert {kind: counts(twin).get(kind, 0) for kind in operators} == operators
    wants = compute(model, {"x": normalised(PIXELS).astype(np.float32)})
    for got, want in zip(compute(twin, {"x": PIXELS}), wants, strict=True):
        close(got, want, limit)
    return twin


def patches(**options: object) -> ir.Model:
    graph = Graph()
    return graph.model(graph.fused_conv(graph.input(1, 3, 8, 6), 7, **{**PATCHES, **options}))


def clamped() -> ir.Model:
    return patches(min=0.0, max=6.0)


def gelu() -> ir.Model:
    graph = Graph()
    inputs = (graph.input(1, 3, 8, 6), graph.random(7, 3, 2, 2), graph.random(7))
    return graph.model(graph.fused("FusedConvGelu", *inputs, **PATCHES, group=1))


@pytest.mark.parametrize("make", [patches, clamped, gelu])
def test_a_convolution_without_padding_takes_it_up(make: Callable[[], ir.Model]) -> None:
    built(make(), {"BatchNormalization": 0})


def padded() -> ir.Model:
    graph = Graph()
    return graph.model(graph.fused_conv(graph.input(1, 3, 8, 6), 7, **WINDOW))


def half_padded() -> ir.Model:
    return patches(pads=[0, 1, 0, 0])


def grouped() -> ir.Model:
    graph = Graph()
    return graph.model(graph.fused_conv(graph.input(1, 3, 8, 6), 6, **PATCHES, group=3))


def two_readers() -> ir.Model:
    graph = Graph()
    x = graph.input(1, 3, 8, 6)
    how = {**POINT, "strides": [2, 2]}
    return graph.model(graph.fused_conv(x, 7, **how), graph.fused_conv(x, 4, **how))


def computed_weight() -> ir.Model:
    graph = Graph()
    x = graph.input(1, 3, 8, 6)
    weight = graph.shaped("Identity", [7, 3, 1, 1], graph.random(7, 3, 1, 1))
    return graph.model(
        graph.fused("FusedConv", x, weight, graph.random(7), **POINT, **FREE, group=1)
    )


def no_convolution() -> ir.Model:
    graph = Graph()
    return graph.model(graph.op("AveragePool", graph.input(1, 3, 8, 6), kernel_shape=[3, 3]))


def pixels_as_output() -> ir.Model:
    graph = Graph()
    x = graph.input(1, 3, 8, 6)
    return graph.model(graph.fused_conv(x, 7, **PATCHES), graph.op("Relu", x))


FALLBACKS = [
    padded,
    half_padded,
    grouped,
    two_readers,
    computed_weight,
    no_convolution,
    pixels_as_output,
]


@pytest.mark.parametrize("make", FALLBACKS)
def test_others_get_an_operator_before(make: Callable[[], ir.Model]) -> None:
    built(make(), {"BatchNormalization": 1})


@pytest.mark.parametrize("ios", [16, 18])
@pytest.mark.parametrize("make", [patches, gelu, *FALLBACKS])
def test_programs_of_pixels(make: Callable[[], ir.Model], ios: int) -> None:
    model = make()
    twin = copy_of(model)
    build_in(twin, RULE)
    wants = compute(model, {"x": normalised(PIXELS).astype(np.float32)})
    for got, want in zip(answers(twin, {"x": PIXELS}, ios), wants, strict=True):
        close(got, want)


@pytest.mark.parametrize("make", [patches, padded])
def test_half_programs_of_pixels(make: Callable[[], ir.Model]) -> None:
    model = make()
    (want,) = compute(model, {"x": normalised(PIXELS).astype(np.float32)})
    build_in(model, RULE)
    (got,) = answers(model, {"x": PIXELS}, 17, half=True)
    assert cosine(got, want) > 0.9999


def test_the_operator_before_is_one_operation() -> None:
    model = padded()
    build_in(model, RULE)
    found = operations(lowered(model))
    assert (found["batch_norm"], found["conv"], found["mul"], found["sub"]) == (1, 1, 0, 0)
