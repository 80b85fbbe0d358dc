"""The projection of GLMix's slots joins the convolution behind it, to the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("coremltools")

from coreml_graphs import FREE, POINT, Graph, check, copy_of
from rewriting import compute, counts, distance, random_feeds

from attnc.compiler.ops.base import NO_MAX
from attnc.targets.coreml.projections import join_projections

BATCH, SLOTS, WIDE, NARROW, HEIGHT, WIDTH, OUT = 2, 5, 6, 7, 3, 4, 8


class Network:
    """slots -> layer -> dispatch, added to a residual -> map -> added to a convolution."""

    def __init__(self, **layer: float) -> None:
        self.graph = graph = Graph()
        self.x = graph.input(BATCH, 10, HEIGHT, WIDTH)
        slots = graph.input(BATCH, SLOTS, WIDE, name="slots")
        logits = graph.input(BATCH, HEIGHT * WIDTH, SLOTS, name="logits")
        residual = graph.input(BATCH, HEIGHT * WIDTH, OUT, name="r")
        self.projected = graph.linear(slots, OUT, **layer)
        self.dealt = graph.fused("SlotDispatchAdd", logits, self.projected, residual)
        self.map = graph.map_of(self.dealt, HEIGHT, WIDTH)

    def joined(self, residual: ir.Value | None = None, **options: object) -> ir.Value:
        """The convolution that the map is added to."""
        how = {**POINT, **FREE, "group": 1, **options}
        kernel = (10 // int(str(how["group"])), *how["kernel_shape"])  # type: ignore[misc]
        weight = self.graph.random(OUT, *kernel)
        place = self.map if residual is None else residual
        return self.graph.fused(
            "FusedConvAdd", self.x, weight, self.graph.random(OUT), place, **how
        )


def joins(model: ir.Model, count: int) -> None:
    """So many projections join; the numbers stay, in the graph and in the program."""
    twin = copy_of(model)
    assert join_projections(twin) == count
    found = counts(twin)
    assert found.get("Linear", 0) == 1 - count
    assert found.get("SlotDispatchAdd", 0) == 1 - count
    feeds = random_feeds(model)
    assert distance(compute(twin, feeds), compute(model, feeds)) < 1e-5


@pytest.mark.parametrize("bounds", [{}, {"min": 0.0, "max": NO_MAX}], ids=["free", "clamped"])
def test_projection_joins(bounds: dict[str, float]) -> None:
    network = Network()
    joins(network.graph.model(network.joined(**bounds)), 1)


@pytest.mark.parametrize("ios", [16, 18])
def test_program_has_one_layer_less(ios: int) -> None:
    network = Network()
    found = check(network.graph.model(network.joined()), ios)
    assert found["conv"] == 1
    assert found["linear"] == 0


def second_consumer_of_the_map() -> ir.Model:
    network = Network()
    return network.graph.model(network.joined(), network.graph.op("Relu", network.map))


def second_consumer_of_the_layer() -> ir.Model:
    network = Network()
    return network.graph.model(network.joined(), network.graph.op("Relu", network.projected))


def dispatch_as_output() -> ir.Model:
    network = Network()
    return network.graph.model(network.joined(), network.dealt)


def clamped_layer() -> ir.Model:
    network = Network(min=0.0, max=6.0)
    return network.graph.model(network.joined())


def padded() -> ir.Model:
    network = Network()
    made = network.joined(kernel_shape=[3, 3], pads=[1] * 4)
    return network.graph.model(made)


def padded_point() -> ir.Model:
    network = Network()
    network.x = network.graph.input(BATCH, 10, HEIGHT - 2, WIDTH - 2, name="small")
    return network.graph.model(network.joined(pads=[1] * 4))


def strided() -> ir.Model:
    network = Network()
    network.x = network.graph.input(BATCH, 10, 2 * HEIGHT, 2 * WIDTH, name="large")
    return network.graph.model(network.joined(strides=[2, 2]))


def grouped() -> ir.Model:
    network = Network()
    return network.graph.model(network.joined(group=2))


def computed_weight() -> ir.Model:
    network = Network()
    graph = network.graph
    weight = graph.input(OUT, 10, 1, 1, name="w")
    inputs = (network.x, weight, graph.random(OUT), network.map)
    return graph.model(graph.fused("FusedConvAdd", *inputs, **POINT, **FREE, group=1))


def other_turn() -> ir.Model:
    network = Network()
    graph = network.graph
    pixels = network.map.producer().inputs[0]  # type: ignore[union-attr]
    network.x = graph.input(BATCH, 10, WIDTH, HEIGHT, name="turned")
    turned = graph.shaped("Transpose", [BATCH, OUT, WIDTH, HEIGHT], pixels, perm=[0, 3, 2, 1])
    return graph.model(network.joined(turned))


def pictures_as_one() -> ir.Model:
    graph = Graph()
    slots = graph.linear(graph.input(1, SLOTS, WIDE, name="slots"), OUT)
    rows = BATCH * HEIGHT * WIDTH
    logits, r = graph.input(1, rows, SLOTS, name="logits"), graph.input(1, rows, OUT, name="r")
    dealt = graph.fused("SlotDispatchAdd", logits, slots, r)
    sizes = [BATCH, HEIGHT, WIDTH, OUT]
    pixels = graph.shaped("Reshape", sizes, dealt, np.array(sizes))
    place = graph.shaped("Transpose", [BATCH, OUT, HEIGHT, WIDTH], pixels, perm=[0, 3, 1, 2])
    x = graph.input(BATCH, 10, HEIGHT, WIDTH)
    inputs = (x, graph.random(OUT, 10, 1, 1), graph.random(OUT), place)
    return graph.model(graph.fused("FusedConvAdd", *inputs, **POINT, **FREE, group=1))


NEAR_MISSES = [
    pictures_as_one,
    second_consumer_of_the_map,
    second_consumer_of_the_layer,
    dispatch_as_output,
    clamped_layer,
    padded,
    padded_point,
    strided,
    grouped,
    computed_weight,
    other_turn,
]


@pytest.mark.parametrize("make", NEAR_MISSES)
def test_near_misses_stay(make: Callable[[], ir.Model]) -> None:
    joins(make(), 0)


@pytest.mark.parametrize("make", [padded_point, strided, grouped, clamped_layer])
def test_programs_of_near_misses_are_right(make: Callable[[], ir.Model]) -> None:
    check(make())


def test_both_readers_of_one_chain_stay() -> None:
    network = Network()
    joins(network.graph.model(network.joined(), network.joined()), 0)


def test_pixels_as_the_wrong_residual_stay() -> None:
    graph = Graph()
    x, r = graph.input(BATCH, 10, HEIGHT, WIDTH), graph.input(BATCH, HEIGHT * WIDTH, OUT, name="r")
    place = graph.map_of(r, HEIGHT, WIDTH)
    how = {**POINT, **FREE, "group": 1}
    out = graph.fused(
        "FusedConvAdd", x, graph.random(OUT, 10, 1, 1), graph.random(OUT), place, **how
    )
    assert join_projections(graph.model(out)) == 0
