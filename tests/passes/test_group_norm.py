"""GroupNorm in all its spellings comes out as one, and only where it is that."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import Builder, counts, reasons, rewrite

from attnc.passes.canonical.group_norm import CanonicalGroupNorm, group_norm_of, strip_affine
from attnc.passes.graph import Refuse

SIZES = ("n", 6, 4, 5)
AXES = np.array([1, 2, 3])


def _op21(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("GroupNormalization", x, b.random(6), b.random(6), num_groups=1, epsilon=1e-4)


def _op18(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("GroupNormalization", x, b.random(1), b.random(1), num_groups=1)


def _layer(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("LayerNormalization", x, np.ones((6, 4, 5)), axis=1, epsilon=1e-4)


def _layer_per_channel(b: Builder, x: ir.Value) -> ir.Value:
    scale, shift = (np.broadcast_to(b.random(6, 1, 1), (6, 4, 5)) for _ in "ab")
    return b.op("LayerNormalization", x, scale, shift, axis=-3)


def _parts(b: Builder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    centred = b.op("Sub", x, b.op("ReduceMean", x, AXES, keepdims=1))
    square = b.op("Pow", centred, np.array(2, np.float32))
    variance = b.op("ReduceMean", square, AXES, keepdims=1)
    return centred, b.op("Sqrt", b.op("Add", variance, np.array(1e-5, np.float32)))


def _divided(b: Builder, x: ir.Value) -> ir.Value:
    centred, deviation = _parts(b, x)
    return b.op("Div", centred, deviation)


def _multiplied(b: Builder, x: ir.Value) -> ir.Value:
    centred, deviation = _parts(b, x)
    return b.op("Mul", b.op("Reciprocal", deviation), centred)


def _twice(b: Builder, x: ir.Value) -> ir.Value:
    """var_mean: the mean is computed again for the variance, squares by a product."""
    axes = np.array([-1, -2, -3])
    other = b.op("Sub", x, b.op("ReduceMean", x, axes, keepdims=1))
    variance = b.op("ReduceMean", b.op("Mul", other, other), axes, keepdims=1)
    centred = b.op("Sub", x, b.op("ReduceMean", x, AXES, keepdims=1))
    shifted = b.op("Add", np.array(1e-5, np.float32), variance)
    return b.op("Mul", centred, b.op("Div", np.array(1, np.float32), b.op("Sqrt", shifted)))


FORMS: dict[str, tuple[int, Callable[[Builder, ir.Value], ir.Value]]] = {
    "opset21": (21, _op21),
    "opset18": (18, _op18),
    "layer": (20, _layer),
    "layer_per_channel": (20, _layer_per_channel),
    "divided": (20, _divided),
    "multiplied": (20, _multiplied),
    "twice": (20, _twice),
}


@pytest.mark.parametrize("name", FORMS)
def test_spellings(name: str) -> None:
    version, form = FORMS[name]
    b = Builder(opset=version)
    x = b.op("Relu", b.input(*SIZES))
    y = form(b, x)
    model = b.model(b.op("Exp", b.op("Tanh", y)))
    assert rewrite(model, CanonicalGroupNorm())[0].matches == 1
    found = counts(model)
    assert found["InstanceNormalization"] == 1
    assert set(found) <= {"Relu", "Reshape", "InstanceNormalization", "Mul", "Add", "Tanh", "Exp"}
    (tanh,) = [node for node in model.graph if node.op_type == "Tanh"]
    norm = group_norm_of(tanh.inputs[0], x)
    assert norm is not None
    assert norm.channels == 6


def _two_groups(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("GroupNormalization", x, b.random(6), b.random(6), num_groups=2)


def _computed(b: Builder, x: ir.Value) -> ir.Value:
    scale = b.op("Relu", b.input(6, name="scale"))
    return b.op("GroupNormalization", x, scale, b.random(6), num_groups=1)


def _uneven(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("LayerNormalization", x, b.random(6, 4, 5), axis=1)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (_two_groups, "2 groups"),
        (_computed, "not constants"),
        (_uneven, "differs between positions"),
    ],
)
def test_refusals(form: Callable[[Builder, ir.Value], ir.Value], reason: str) -> None:
    b = Builder(opset=21)
    model = b.model(form(b, b.input(*SIZES)))
    (result,) = rewrite(model, CanonicalGroupNorm())
    assert result.matches == 0
    assert reason in reasons(result)


def test_other_statistics_stay() -> None:
    b = Builder()
    x = b.input(*SIZES)
    centred = b.op("Sub", x, b.op("ReduceMean", x, np.array([2, 3]), keepdims=1))
    variance = b.op("ReduceMean", b.op("Mul", centred, centred), AXES, keepdims=1)
    deviation = b.op("Sqrt", b.op("Add", variance, np.array(1e-5, np.float32)))
    model = b.model(b.op("Div", centred, deviation))
    assert rewrite(model, CanonicalGroupNorm())[0].matches == 0


def _instance(b: Builder, x: ir.Value, rows: int) -> ir.Value:
    flat = b.op("Reshape", x, np.array([0, rows, -1]))
    ones, zeros = np.ones(rows, np.float32), np.zeros(rows, np.float32)
    return b.op("Reshape", b.op("InstanceNormalization", flat, ones, zeros), np.array([0, 6, 4, 5]))


def test_reading_refuses_several_groups() -> None:
    b = Builder()
    x = b.op("Relu", b.input(*SIZES))
    y = _instance(b, x, 3)
    b.model(y)
    with pytest.raises(Refuse, match="one group"):
        group_norm_of(y, x)


def test_reading_refuses_other_channels() -> None:
    b = Builder()
    x = b.op("Relu", b.input("n", 9, 4, 5))
    y = _instance(b, b.op("Slice", x, [3], [9], [1]), 1)
    b.model(y)
    with pytest.raises(Refuse, match="not the first ones"):
        group_norm_of(y, x)


def test_affine_is_peeled_off_in_either_operand_order() -> None:
    b = Builder()
    x = b.op("Relu", b.input(*SIZES))
    gamma, beta = b.random(6, 1, 1), b.random(1, 6, 1, 1)
    y = b.op("Add", beta, b.op("Mul", gamma, x))
    b.model(y)
    affine = strip_affine(y, 6)
    assert affine.data is x
    assert np.allclose(affine.gamma, gamma.ravel())
    assert np.allclose(affine.beta, beta.ravel())
    assert strip_affine(b.op("Mul", x, b.random(5)), 6).nodes == ()
