"""Clips that bound nothing, GELU below opset 20, and bodies in the precision of the graph."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from rewriting import counts, only
from tensorrt_graphs import JETPACK6, PLAIN, Graph, census, lowered

from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.compiler.ops.registry import TENSORRT, get
from attnc.passes.graph import scalar
from attnc.targets.tensorrt.bodies import INTEGERS, body_of
from attnc.targets.tensorrt.forms import FORMS
from attnc.targets.tensorrt.lower import Options

ALL = sorted({op.name for op in TENSORRT} | {name for name, form in FORMS.items() if form.plugin})


def clip(low: float | None, high: float | None) -> ir.Model:
    g = Graph()
    bounds = [None if v is None else np.array(v, np.float32) for v in (low, high)]
    x = g.like(g.op("Tanh", g.input("n", 5)), "n", 5)
    return g.model(g.like(g.op("Clip", x, *bounds), "n", 5))


@pytest.mark.parametrize(
    ("low", "high", "left"),
    [
        (NO_MIN, NO_MAX, {"Tanh": 1}),
        (0.0, NO_MAX, {"Tanh": 1, "Relu": 1}),
        (0.0, 6.0, {"Tanh": 1, "Clip": 1}),
        (-0.5, NO_MAX, {"Tanh": 1, "Clip": 1}),
        (NO_MIN, 0.5, {"Tanh": 1, "Clip": 1}),
        (None, 0.5, {"Tanh": 1, "Clip": 1}),
    ],
)
def test_clips(low: float | None, high: float | None, left: dict[str, int]) -> None:
    model = clip(low, high)
    assert lowered(model) == []
    assert census(model) == left
    if "Clip" in left:  # nothing is left that float16 could not hold
        bounds = [scalar(value) for value in only(model, "Clip").inputs[1:]]
        assert all(bound is None or abs(bound) < 100 for bound in bounds)


def test_a_clip_with_computed_bounds_stays() -> None:
    g = Graph()
    low = g.op("Neg", g.input(name="low"))
    low.shape, low.type = ir.Shape([]), ir.TensorType(ir.DataType.FLOAT)
    model = g.model(g.like(g.op("Clip", g.input("n", 5), low, np.array(1.0)), "n", 5))
    lowered(model)
    assert census(model) == {"Neg": 1, "Clip": 1}


@pytest.mark.parametrize("approximate", [None, "none", "tanh"])
@pytest.mark.parametrize("options", [PLAIN, JETPACK6], ids=["opset20", "opset18"])
def test_gelu(options: Options, approximate: str | None) -> None:
    g = Graph()
    how = {} if approximate is None else {"approximate": approximate}
    model = g.model(g.like(g.op("Gelu", g.input("n", 64), **how), "n", 64))
    assert lowered(model, options, limit=1e-6) == []
    assert ("Gelu" in counts(model)) == (options is PLAIN)


def test_an_mlp_for_jetpack6_has_no_gelu() -> None:
    g = Graph()
    weights = g.random(9, 6), g.random(9), g.random(6, 9), g.random(6)
    model = g.model(g.fused("Mlp", g.input("n", 4, 6), *weights, epsilon=1e-6))
    assert lowered(model, JETPACK6) == []
    assert {"Erf", "LayerNormalization"} <= census(model).keys()
    assert "Gelu" not in census(model)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", ALL)
def test_bodies_compute_in_float32(name: str, precision: str) -> None:
    operator = get(name)
    function = body_of(operator, precision)
    casts = [
        node for node in function if node.op_type == "Cast" and node.attributes["to"].value == 1
    ]
    floats = [value for value in operator.inputs if value not in INTEGERS]
    assert {node.inputs[0].name for node in casts} >= {f"{value}_given" for value in floats}
    last = [value.producer().op_type for value in function.outputs]
    indices = [value in INTEGERS for value in operator.outputs]
    assert [kind == "CastLike" for kind in last] == [not index for index in indices]
    onnx.checker.check_function(ir.to_proto(function))


@pytest.mark.parametrize("name", ALL)
def test_bodies_of_float32_are_the_operators_own(name: str) -> None:
    assert ir.to_proto(body_of(get(name), "fp32")) == ir.to_proto(get(name).function())
