"""LayerNorm and GELU come out as one operator each in all their spellings, and only there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import Builder, counts, only, reasons, rewrite

from attnc.passes.canonical.gelu import CanonicalGelu
from attnc.passes.canonical.layer_norm import CanonicalLayerNorm, last_axis_norm
from attnc.passes.graph import attribute

Make = Callable[[Builder, ir.Value], ir.Value]
LAST = np.array([-1])


def _f(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def _x(b: Builder) -> ir.Value:
    return b.op("Tanh", b.input("n", 5, 6))


def _parts(b: Builder, x: ir.Value, axes: np.ndarray = LAST) -> tuple[ir.Value, ir.Value]:
    centred = b.op("Sub", x, b.op("ReduceMean", x, axes, keepdims=1))
    square = b.op("Pow", centred, _f(2))
    variance = b.op("ReduceMean", square, axes, keepdims=1)
    return centred, b.op("Sqrt", b.op("Add", variance, _f(1e-4)))


def _divided(b: Builder, x: ir.Value) -> ir.Value:
    y = b.op("Div", *_parts(b, x))
    return b.op("Add", b.op("Mul", y, b.random(6)), b.random(6))


def _axis_2(b: Builder, x: ir.Value) -> ir.Value:
    y = b.op("Div", *_parts(b, x, np.array([2])))
    return b.op("Add", b.random(1, 6), b.op("Mul", b.random(1, 1, 6), y))


def _reciprocal(b: Builder, x: ir.Value) -> ir.Value:
    centred, deviation = _parts(b, x)
    y = b.op("Mul", centred, b.op("Div", _f(1), deviation))
    return b.op("Add", b.op("Mul", y, b.random(6)), b.random(6))


def _squared_by_product(b: Builder, x: ir.Value) -> ir.Value:
    centred = b.op("Sub", x, b.op("ReduceMean", x, LAST, keepdims=1))
    variance = b.op("ReduceMean", b.op("Mul", centred, centred), LAST, keepdims=1)
    y = b.op("Div", centred, b.op("Sqrt", b.op("Add", _f(1e-4), variance)))
    return b.op("Add", b.op("Mul", y, b.random(6)), b.random(6))


def _operator_without_affine(b: Builder, x: ir.Value) -> ir.Value:
    y = b.op("LayerNormalization", x, np.ones(6), axis=2, epsilon=1e-4)
    return b.op("Add", b.op("Mul", y, b.random(6)), b.random(6))


NORMS: dict[str, Make] = {
    "divided": _divided,
    "axis_2": _axis_2,
    "reciprocal": _reciprocal,
    "squared_by_product": _squared_by_product,
    "operator_without_affine": _operator_without_affine,
}


@pytest.mark.parametrize("name", NORMS)
def test_norms(name: str) -> None:
    b = Builder()
    model = b.model(b.op("Exp", NORMS[name](b, _x(b))))
    assert rewrite(model, CanonicalLayerNorm())[0].matches == 3 - (name == list(NORMS)[-1])
    assert counts(model) == {"Tanh": 1, "LayerNormalization": 1, "Exp": 1}
    assert attribute(only(model, "LayerNormalization"), "epsilon") == np.float32(1e-4)


def test_a_norm_over_another_axis_stays() -> None:
    b = Builder()
    model = b.model(b.op("Exp", b.op("Div", *_parts(b, _x(b), np.array([1])))))
    assert rewrite(model, CanonicalLayerNorm())[0].matches == 0


def test_a_norm_of_other_moments_stays() -> None:
    b = Builder()
    x = _x(b)
    model = b.model(b.op("Div", _parts(b, x)[0], _parts(b, b.op("Sin", x))[1]))
    assert rewrite(model, CanonicalLayerNorm())[0].matches == 0


def test_a_norm_in_an_opset_without_the_operator_is_refused() -> None:
    b = Builder(opset=13)
    x = b.op("Tanh", b.input(2, 6))
    mean = b.op("ReduceMean", x, axes=[-1], keepdims=1)
    centred = b.op("Sub", x, mean)
    variance = b.op("ReduceMean", b.op("Mul", centred, centred), axes=[-1], keepdims=1)
    y = b.op("Div", centred, b.op("Sqrt", b.op("Add", variance, _f(1e-4))))
    result = CanonicalLayerNorm().run(b.model(y))
    assert result.matches == 0
    assert "opset 13" in reasons(result)


def test_a_scale_that_others_do_not_see_stays_outside() -> None:
    b = Builder()
    y = b.op("LayerNormalization", _x(b), b.random(6), axis=-1)
    model = b.model(b.op("Mul", y, b.random(6)), b.op("Exp", y))
    assert rewrite(model, CanonicalLayerNorm())[0].matches == 0


def test_a_shift_per_row_stays_outside() -> None:
    b = Builder()
    y = b.op("LayerNormalization", _x(b), b.random(6), axis=-1)
    model = b.model(b.op("Add", y, b.random(5, 6)), b.op("Mul", b.random(5, 1), b.op("Exp", y)))
    assert rewrite(model, CanonicalLayerNorm())[0].matches == 0


def _erf_of_quotient(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("Add", b.op("Erf", b.op("Div", x, _f(1.41421354))), _f(1))


def _erf_of_product(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("Add", _f(1), b.op("Erf", b.op("Mul", _f(0.70710677), x)))


GELUS: dict[str, Make] = {
    "half_last": lambda b, x: b.op("Mul", b.op("Mul", x, _erf_of_quotient(b, x)), _f(0.5)),
    "half_first": lambda b, x: b.op("Mul", b.op("Mul", x, _f(0.5)), _erf_of_product(b, x)),
    "half_of_erf": lambda b, x: b.op("Mul", b.op("Mul", _f(0.5), _erf_of_product(b, x)), x),
    "halved": lambda b, x: b.op("Div", b.op("Mul", _erf_of_quotient(b, x), x), _f(2)),
    "half_in_a_vector": lambda b, x: b.op(
        "Mul", np.array([0.5]), b.op("Mul", _erf_of_product(b, x), x)
    ),
}


@pytest.mark.parametrize("name", GELUS)
def test_gelus(name: str) -> None:
    b = Builder()
    model = b.model(b.op("Exp", GELUS[name](b, _x(b))))
    assert rewrite(model, CanonicalGelu())[0].matches == 1
    assert counts(model) == {"Tanh": 1, "Gelu": 1, "Exp": 1}


NO_GELUS: dict[str, tuple[Make, str]] = {
    "other_factor": (
        lambda b, x: b.op("Mul", x, b.op("Add", b.op("Erf", b.op("Mul", x, _f(0.7))), _f(1))),
        "0.7 x",
    ),
    "other_operand": (
        lambda b, x: b.op("Mul", b.op("Sin", x), _erf_of_quotient(b, x)),
        "something else than x",
    ),
    "not_halved": (
        lambda b, x: b.op("Exp", b.op("Mul", x, _erf_of_quotient(b, x))),
        "not multiplied by x / 2",
    ),
    "squared": (
        lambda b, x: b.op("Mul", x, b.op("Mul", x, _erf_of_quotient(b, x))),
        "something else than x",
    ),
}


@pytest.mark.parametrize("name", NO_GELUS)
def test_what_is_no_gelu(name: str) -> None:
    make, reason = NO_GELUS[name]
    b = Builder()
    (result,) = rewrite(b.model(make(b, _x(b))), CanonicalGelu())
    assert result.matches == 0
    assert reason in reasons(result)


def test_an_error_function_of_its_own_is_left_alone() -> None:
    b = Builder()
    (result,) = rewrite(b.model(b.op("Erf", _x(b))), CanonicalGelu())
    assert (result.matches, result.near_misses) == (0, ())


@pytest.mark.parametrize(
    ("sizes", "found"), [((6,), True), ((1,), True), ((1, 6), True), ((6, 1), False)]
)
def test_scales_of_rows_are_none_of_channels(sizes: tuple[int, ...], found: bool) -> None:
    b = Builder()
    node = b.op("LayerNormalization", b.input(1, 6, 6), b.random(*sizes), axis=-1).producer()
    own = last_axis_norm(node)
    assert (own is not None) is found
    assert own is None or [part.shape for part in own] == [(6,), (6,)]
