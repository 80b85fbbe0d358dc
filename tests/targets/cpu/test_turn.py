"""Transposes of whole maps get a kernel; others, and those of other types, stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import Builder, compute, counts, distance, random_feeds

from attnc.compiler.ops.registry import attach_functions
from attnc.targets.cpu.turn import turn_maps


@pytest.mark.parametrize(
    ("perm", "found"),
    [((0, 2, 3, 1), "MapToNhwc"), ((0, 3, 1, 2), "MapToNchw"), ((0, 1, 3, 2), "Transpose")],
)
def test_whole_maps_are_turned_by_a_kernel(perm, found):
    b = Builder()
    model = b.model(b.op("Transpose", b.op("Relu", b.input("n", 3, 5, 4)), perm=list(perm)))
    feeds = random_feeds(model)
    before = compute(model, feeds)
    turn_maps(model)
    assert counts(model) == {"Relu": 1, found: 1}
    attach_functions(model)
    assert distance(compute(model, feeds), before) == 0


def test_the_name_of_an_output_survives():
    b = Builder()
    model = b.model(b.op("Transpose", b.input(2, 3, 5, 4), perm=[0, 2, 3, 1]))
    name = model.graph.outputs[0].name
    turn_maps(model)
    assert model.graph.outputs[0].name == name
    assert tuple(model.graph.outputs[0].shape) == (2, 5, 4, 3)


def test_whole_numbers_stay():
    b = Builder()
    x = b.op("Cast", b.input(2, 3, 5, 4), to=ir.DataType.INT64)
    turned = b.op("Transpose", x, perm=[0, 2, 3, 1])
    model = b.model(b.op("Cast", turned, to=ir.DataType.FLOAT))
    before = compute(model, random_feeds(model))
    turn_maps(model)
    assert counts(model) == {"Cast": 2, "Transpose": 1}
    assert np.array_equal(compute(model, random_feeds(model))[0], before[0])
