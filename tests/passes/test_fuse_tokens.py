"""Fusions of token-wise linear layers with norms, GELU, factors and residuals."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import Builder, counts, only, reasons, rewrite

from attnc.compiler.ops.base import NO_MAX, NO_MIN
from attnc.compiler.ops.registry import get
from attnc.compiler.pipeline import PassResult
from attnc.passes.canonical.linear import CanonicalLinear
from attnc.passes.fuse.linear import FuseLinear
from attnc.passes.fuse.linear_add import FuseLinearAdd
from attnc.passes.fuse.linear_gelu import FuseLinearGelu
from attnc.passes.fuse.linear_scale import FoldLinearScale
from attnc.passes.fuse.norm_linear import FuseNormLinear
from attnc.passes.graph import attribute
from attnc.passes.pipelines import tokens


def _x(b: Builder, channels: int = 6) -> ir.Value:
    return b.op("Tanh", b.input("n", 5, channels))


def _linear(b: Builder, x: ir.Value, k: int = 6, n: int = 8) -> ir.Value:
    product = b.op("MatMul", x, b.random(k, n) / np.float32(k**0.5))
    return b.op("Add", product, b.random(n))


def _norm(b: Builder, x: ir.Value, channels: int = 6) -> ir.Value:
    scale, shift = b.random(channels), b.random(channels)
    return b.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-6)


def _declared(model: ir.Model, name: str) -> dict[str, object]:
    node = only(model, name)
    assert set(node.attributes) == set(get(name).attributes)
    assert len(node.inputs) == len(get(name).inputs)
    return {key: attribute(node, key) for key in node.attributes}


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("bias", ["row", "wide_row", "number", "none"])
def test_linear(bias: str, swapped: bool) -> None:
    b = Builder()
    y = b.op("MatMul", _x(b), b.random(6, 8))
    rows = {"row": b.random(8), "wide_row": b.random(1, 1, 8), "number": b.random(1)}
    if bias in rows:
        y = b.op("Add", *((rows[bias], y) if swapped else (y, rows[bias])))
    model = b.model(b.op("Exp", y))
    assert rewrite(model, FuseLinear())[0].matches == 1
    assert counts(model) == {"Tanh": 1, "Linear": 1, "Exp": 1}
    assert _declared(model, "Linear") == {"min": np.float32(NO_MIN), "max": np.float32(NO_MAX)}


def test_linear_takes_its_clamp() -> None:
    b = Builder()
    model = b.model(b.op("Exp", b.op("Clip", _linear(b, _x(b)), np.array(0.0), np.array(6.0))))
    rewrite(model, FuseLinear())
    assert counts(model) == {"Tanh": 1, "Linear": 1, "Exp": 1}
    assert _declared(model, "Linear") == {"min": 0.0, "max": 6.0}


def test_a_head_of_any_form() -> None:
    b = Builder()
    x = b.op("Tanh", b.input("n", 6))
    y = b.op("Gemm", x, b.random(6, 4), b.random(4), alpha=0.5, beta=2.0)
    model = b.model(b.op("MatMul", y, b.random(4, 3)))
    assert [r.matches for r in rewrite(model, CanonicalLinear(), FuseLinear())] == [2, 2]
    assert counts(model) == {"Tanh": 1, "Linear": 2}


def test_a_bias_per_token_stays_outside() -> None:
    b = Builder()
    model = b.model(b.op("Add", b.op("MatMul", _x(b), b.random(6, 8)), b.random(5, 8)))
    rewrite(model, FuseLinear())
    assert counts(model) == {"Tanh": 1, "Linear": 1, "Add": 1}


def test_a_product_of_two_computed_values_is_no_linear_layer() -> None:
    b = Builder()
    x = _x(b)
    y = b.op("MatMul", x, b.op("Transpose", x, perm=[0, 2, 1]))
    (result,) = rewrite(b.model(y, b.op("MatMul", b.random(7, 5), x)), FuseLinear())
    assert (result.matches, result.near_misses) == (0, ())


def test_a_linear_layer_in_double_precision_is_refused() -> None:
    b = Builder()
    x = b.input(1, 2, 3, dtype=ir.DataType.DOUBLE)
    w = ir.Value(name="w", const_value=ir.tensor(np.ones((3, 2)), name="w"))
    w.dtype, w.shape = ir.DataType.DOUBLE, w.const_value.shape
    b.graph.register_initializer(w)
    y = b.op("MatMul", x, w)
    y.dtype = ir.DataType.DOUBLE
    b.model(y)
    result = FuseLinear().run(ir.Model(b.graph, ir_version=9))
    assert result.matches == 0
    assert "not in float32" in reasons(result)


@pytest.mark.parametrize("form", ["layer_scale", "swapped", "halved", "number"])
def test_factors_go_into_the_weights(form: str) -> None:
    b = Builder()
    y = _linear(b, _x(b))
    operands = {
        "layer_scale": ("Mul", y, b.random(8)),
        "swapped": ("Mul", b.random(1, 8), y),
        "halved": ("Div", y, np.array(2.0)),
        "number": ("Mul", y, np.array([-0.25])),
    }
    model = b.model(b.op("Exp", b.op(*operands[form])))
    assert [r.matches for r in rewrite(model, FuseLinear(), FoldLinearScale())] == [1, 1]
    assert counts(model) == {"Tanh": 1, "Linear": 1, "Exp": 1}


def test_factors_that_stay() -> None:
    b = Builder()
    x = _x(b)
    y, z = _linear(b, x), b.op("Relu", _linear(b, x))
    per_token = b.op("Mul", y, b.random(5, 1))
    behind_a_clamp = b.op("Mul", z, np.array(-2.0))
    inverse = b.op("Div", np.array(2.0), _linear(b, x))
    model = b.model(per_token, behind_a_clamp, inverse)
    assert rewrite(model, FuseLinear(), FoldLinearScale())[1].matches == 0


def test_gelu() -> None:
    b = Builder()
    model = b.model(b.op("Exp", b.op("Gelu", _linear(b, _x(b)))))
    assert rewrite(model, FuseLinear(), FuseLinearGelu())[1].matches == 1
    assert counts(model) == {"Tanh": 1, "LinearGelu": 1, "Exp": 1}
    assert _declared(model, "LinearGelu") == {}


def test_gelus_that_stay_outside() -> None:
    b = Builder()
    x = _x(b)
    y = _linear(b, x)
    approximate = b.op("Gelu", _linear(b, x), approximate="tanh")
    model = b.model(b.op("Gelu", y), b.op("Exp", y), approximate)
    (_, result) = rewrite(model, FuseLinear(), FuseLinearGelu())
    assert result.matches == 0
    assert "second consumer" in reasons(result)
    assert "tanh" in reasons(result)


def _normed(model: ir.Model) -> PassResult:
    return rewrite(model, FuseLinear(), FuseLinearGelu(), FuseNormLinear())[2]


def test_a_norm_goes_into_the_layer() -> None:
    b = Builder()
    model = b.model(b.op("Exp", _linear(b, _norm(b, _x(b)))))
    assert _normed(model).matches == 1
    assert counts(model) == {"Tanh": 1, "NormLinear": 1, "Exp": 1}
    assert _declared(model, "NormLinear") == {"epsilon": np.float32(1e-6)}


def test_a_norm_goes_into_the_layer_with_its_gelu() -> None:
    b = Builder()
    model = b.model(b.op("Exp", b.op("Gelu", _linear(b, _norm(b, _x(b))))))
    assert _normed(model).matches == 1
    assert counts(model) == {"Tanh": 1, "NormLinearGelu": 1, "Exp": 1}


def test_a_norm_goes_into_each_of_several_layers() -> None:
    b = Builder()
    n = _norm(b, _x(b))
    model = b.model(_linear(b, n, n=40), b.op("Gelu", _linear(b, n, n=48)))
    assert _normed(model).matches == 1
    assert counts(model) == {"Tanh": 1, "NormLinear": 1, "NormLinearGelu": 1}


def _read_elsewhere(b: Builder) -> list[ir.Value]:
    n = _norm(b, _x(b))
    return [_linear(b, n), b.op("Exp", n)]


def _clamped(b: Builder) -> list[ir.Value]:
    return [b.op("Relu", _linear(b, _norm(b, _x(b))))]


def _narrow(b: Builder) -> list[ir.Value]:
    n = _norm(b, _x(b))
    return [_linear(b, n), _linear(b, n, n=40)]


def _alone(b: Builder) -> list[ir.Value]:
    return [b.op("Exp", _norm(b, _x(b)))]


NORM_REFUSALS = {
    "also read by Exp": _read_elsewhere,
    "clamps its result": _clamped,
    "fewer than 32 outputs": _narrow,
    "no linear layer": _alone,
}


@pytest.mark.parametrize("reason", NORM_REFUSALS)
def test_norms_that_stay(reason: str) -> None:
    b = Builder()
    result = _normed(b.model(*NORM_REFUSALS[reason](b)))
    assert result.matches == 0
    assert reason in reasons(result)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_layer_takes_its_residual(swapped: bool) -> None:
    b = Builder()
    x = _x(b)
    operands = [_linear(b, b.op("Sin", x), n=6), x]
    y = b.op("Relu", b.op("Add", *(reversed(operands) if swapped else operands)))
    model = b.model(b.op("Exp", y))
    assert rewrite(model, FuseLinear(), FuseLinearAdd())[1].matches == 1
    assert counts(model) == {"Tanh": 1, "Sin": 1, "LinearAdd": 1, "Exp": 1}
    assert _declared(model, "LinearAdd")["min"] == 0.0


def test_residuals_that_stay_outside() -> None:
    b = Builder()
    x = _x(b)
    wide = b.op("Add", _linear(b, x, n=6), b.op("ReduceMean", x, np.array([1]), keepdims=1))
    y = _linear(b, x, n=6)
    (_, result) = rewrite(b.model(wide, b.op("Add", x, y), b.op("Exp", y)), *_layers())
    assert result.matches == 0
    assert "broadcasts" in reasons(result)
    assert "second consumer" in reasons(result)


def _layers() -> list[object]:
    return [FuseLinear(), FuseLinearAdd()]


def test_a_sum_of_two_layers_becomes_a_chain() -> None:
    b = Builder()
    x = _x(b)
    model = b.model(b.op("Add", _linear(b, x), _linear(b, x)))
    rewrite(model, FuseLinear(), FuseLinearAdd())
    assert counts(model) == {"Tanh": 1, "Linear": 1, "LinearAdd": 1}


def _block(b: Builder, x: ir.Value, residual: ir.Value) -> ir.Value:
    hidden = b.op("Gelu", _linear(b, _norm(b, x), n=24))
    return b.op("Add", residual, _linear(b, hidden, 24, 6))


def test_the_feed_forward_block() -> None:
    b = Builder()
    x = _x(b)
    model = b.model(b.op("Exp", _block(b, x, x)))
    results = rewrite(model, *tokens())
    assert results[-1].matches == 1
    assert counts(model) == {"Tanh": 1, "Mlp": 1, "Exp": 1}
    assert _declared(model, "Mlp") == {"epsilon": np.float32(1e-6)}


def test_a_block_with_layer_scale() -> None:
    b = Builder()
    x = _x(b)
    hidden = b.op("Gelu", _linear(b, _norm(b, x), n=24))
    scaled = b.op("Mul", b.random(6), _linear(b, hidden, 24, 6))
    model = b.model(b.op("Exp", b.op("Add", x, scaled)))
    rewrite(model, *tokens())
    assert counts(model) == {"Tanh": 1, "Mlp": 1, "Exp": 1}


def test_blocks_that_stay_layers() -> None:
    b = Builder()
    x = _x(b)
    other = _block(b, x, b.op("Sin", x))
    clamped = b.op("Relu", _block(b, x, x))
    alone = b.op("Gelu", _linear(b, _norm(b, x), n=24))
    (*_, result) = rewrite(b.model(other, clamped, alone), *tokens())
    assert result.matches == 0
    for reason in ("not the block's input", "clamped", "no linear layer with a residual"):
        assert reason in reasons(result)
