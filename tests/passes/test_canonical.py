"""Passes that bring convolutions, linear layers, poolings, opsets and sequences to one form."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import Builder, counts, only, reasons, rewrite

from attnc.passes.canonical.batch_norm import FoldBatchNorm
from attnc.passes.canonical.conv import CanonicalConv, conv_of
from attnc.passes.canonical.einsum import CanonicalEinsum, read_equation
from attnc.passes.canonical.linear import CanonicalLinear, linear_of
from attnc.passes.canonical.opset import SettleOpset
from attnc.passes.canonical.pool import CanonicalGlobalPool, CanonicalPooledVector
from attnc.passes.canonical.pooled_gate import CanonicalPooledGate
from attnc.passes.canonical.sequence import CanonicalSequence
from attnc.passes.graph import attribute, opset


def test_a_bare_conv_gets_bias_and_attributes() -> None:
    b = Builder()
    model = b.model(b.op("Conv", b.input("n", 4, 7, 8), b.random(6, 2, 3, 3), group=2))
    assert rewrite(model, CanonicalConv())[0].matches == 1
    assert conv_of(only(model, "Conv")) is not None


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 1), (4, 3)])
def test_automatic_padding_is_written_out(auto: str, kernel: int, stride: int) -> None:
    b = Builder()
    w = b.random(5, 3, kernel, kernel)
    x = b.input(2, 3, 10, 7)
    model = b.model(b.op("Conv", x, w, auto_pad=auto, strides=[stride, stride]))
    rewrite(model, CanonicalConv())
    assert "auto_pad" not in only(model, "Conv").attributes


def test_a_conv_with_computed_weights_is_refused() -> None:
    b = Builder()
    w = b.op("Relu", b.input(5, 3, 1, 1, name="w"))
    model = b.model(b.op("Conv", b.input(2, 3, 4, 4), w))
    (result,) = rewrite(model, CanonicalConv())
    assert "not constants" in reasons(result)


def test_one_dimensional_convolutions_stay() -> None:
    b = Builder()
    model = b.model(b.op("Conv", b.input(2, 3, 9), b.random(5, 3, 3)))
    assert rewrite(model, CanonicalConv())[0].matches == 0


def _statistics(b: Builder, channels: int) -> list[np.ndarray]:
    gamma, beta, mean = b.random(channels), b.random(channels), b.random(channels)
    return [gamma, beta, mean, np.abs(b.random(channels)) + 0.5]


@pytest.mark.parametrize("group", [1, 2, 6])
def test_batch_norm_after_conv(group: int) -> None:
    b = Builder()
    y = b.conv(b.input("n", 6, 5, 5), 6, 6, 3, group=group)
    model = b.model(b.op("BatchNormalization", y, *_statistics(b, 6), epsilon=1e-3))
    assert rewrite(model, FoldBatchNorm())[0].matches == 1
    assert counts(model) == {"Conv": 1}


@pytest.mark.parametrize("group", [1, 2, 6])
def test_batch_norm_before_conv_without_padding(group: int) -> None:
    b = Builder()
    x = b.op("BatchNormalization", b.input("n", 6, 5, 5), *_statistics(b, 6))
    model = b.model(b.conv(x, 6, 12, 3, group=group, pads=[0, 0, 0, 0]))
    assert rewrite(model, FoldBatchNorm())[0].matches == 1
    assert counts(model) == {"Conv": 1}


@pytest.mark.parametrize("first", [True, False])
def test_batch_norm_and_gemm(first: bool) -> None:
    b = Builder()
    x, w, bias = b.input("n", 6), b.random(4, 6), b.random(4)
    if first:
        x = b.op("BatchNormalization", x, *_statistics(b, 6))
    y = b.op("Gemm", x, w, bias, transB=1)
    if not first:
        y = b.op("BatchNormalization", y, *_statistics(b, 4))
    model = b.model(y)
    assert rewrite(model, FoldBatchNorm())[0].matches == 1
    assert counts(model) == {"Gemm": 1}


def _padded(b: Builder) -> list[ir.Value]:
    x = b.op("BatchNormalization", b.input("n", 6, 5, 5), *_statistics(b, 6))
    return [b.conv(x, 6, 4, 3)]


def _shared(b: Builder) -> list[ir.Value]:
    y = b.conv(b.input("n", 6, 5, 5), 6, 6)
    return [b.op("Relu", b.op("BatchNormalization", y, *_statistics(b, 6))), b.op("Exp", y)]


def _lonely(b: Builder) -> list[ir.Value]:
    x = b.op("Relu", b.input("n", 6, 5, 5))
    return [b.op("Relu", b.op("BatchNormalization", x, *_statistics(b, 6)))]


@pytest.mark.parametrize(
    ("build", "reason"),
    [(_padded, "pads with zeros"), (_shared, "second consumer"), (_lonely, "neither a Conv")],
)
def test_batch_norms_that_must_stay(build: object, reason: str) -> None:
    b = Builder()
    model = b.model(*build(b))  # type: ignore[operator]
    (result,) = rewrite(model, FoldBatchNorm())
    assert result.matches == 0
    assert reason in reasons(result)


@pytest.mark.parametrize("bias", [None, (4,), (1, 4), ()])
def test_matmul_and_add_become_gemm(bias: tuple[int, ...] | None) -> None:
    b = Builder()
    y = b.op("MatMul", b.input("n", 6), b.random(6, 4))
    if bias is not None:
        y = b.op("Add", b.random(*bias), y)
    model = b.model(y)
    rewrite(model, CanonicalLinear())
    assert counts(model) == {"Gemm": 1}
    assert linear_of(only(model, "Gemm")) is not None


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_factors_go_into_the_weights(transposed: int) -> None:
    b = Builder()
    w = b.random(4, 6) if transposed else b.random(6, 4)
    model = b.model(
        b.op("Gemm", b.input("n", 6), w, b.random(1, 4), alpha=0.5, beta=3.0, transB=transposed)
    )
    assert rewrite(model, CanonicalLinear())[0].matches == 1
    assert linear_of(only(model, "Gemm")) is not None


def test_gemm_of_two_computed_matrices_is_refused() -> None:
    b = Builder()
    model = b.model(b.op("Gemm", b.input(3, 6), b.op("Relu", b.input(6, 4, name="w"))))
    assert "not constants" in reasons(rewrite(model, CanonicalLinear())[0])


def _mean(b: Builder, x: ir.Value, *axes: int, keep: int = 0) -> ir.Value:
    return b.op("ReduceMean", x, np.array(axes), keepdims=keep)


POOLS = {
    "keep": lambda b, x: _mean(b, x, -1, 2, keep=1),
    "drop": lambda b, x: _mean(b, x, 2, 3),
    "two_steps": lambda b, x: _mean(b, _mean(b, x, 3), 2),
    "tokens": lambda b, x: _mean(b, b.op("Reshape", x, np.array([0, 6, 20])), 2),
    "channels_last": lambda b, x: _mean(b, b.op("Transpose", x, perm=[0, 2, 3, 1]), 1, 2),
    "window": lambda b, x: b.op("AveragePool", x, kernel_shape=[4, 5]),
    "slice": lambda b, x: _mean(b, b.op("Slice", x, [1], [4], [1]), 2, 3),
    "joined": lambda b, x: _mean(b, b.op("Concat", x, x, axis=1), 2, 3),
}


@pytest.mark.parametrize("name", POOLS)
def test_means_over_the_map_become_one_pooling(name: str) -> None:
    b = Builder()
    model = b.model(POOLS[name](b, b.op("Relu", b.input("n", 6, 4, 5))))
    rewrite(model, CanonicalGlobalPool())
    found = counts(model)
    assert found["GlobalAveragePool"] == 1
    assert not {"ReduceMean", "AveragePool"} & set(found)


OTHER_MEANS = {
    "channels": lambda b, x: _mean(b, x, 1),
    "rows": lambda b, x: _mean(b, x, 2),
    "everything": lambda b, x: _mean(b, x, 1, 2, 3),
    "batch": lambda b, x: _mean(b, x, 0, 2, 3),
    "mixed": lambda b, x: _mean(b, b.op("Reshape", x, np.array([0, 20, 6])), 2),
    "part": lambda b, x: b.op("AveragePool", x, kernel_shape=[4, 4]),
}


@pytest.mark.parametrize("name", OTHER_MEANS)
def test_other_means_stay(name: str) -> None:
    b = Builder()
    model = b.model(OTHER_MEANS[name](b, b.op("Relu", b.input(2, 6, 4, 5))))
    assert rewrite(model, CanonicalGlobalPool(), batches=(2,))[0].matches == 0


@pytest.mark.parametrize("chain", ["Reshape", "Squeeze", "Slice", "Transpose"])
def test_the_pooled_vector_is_flattened(chain: str) -> None:
    b = Builder()
    x = b.op("GlobalAveragePool", b.input("n", 6, 4, 5))
    if chain == "Reshape":
        x = b.op("Reshape", x, np.array([0, -1]))
    elif chain == "Squeeze":
        x = b.op("Squeeze", b.op("Squeeze", x, np.array([3])), np.array([2]))
    elif chain == "Slice":
        x = b.op("Gather", b.op("Gather", x, np.array(0), axis=3), np.array(0), axis=2)
    else:
        x = b.op("Reshape", b.op("Transpose", x, perm=[0, 2, 3, 1]), np.array([0, 6]))
    model = b.model(b.op("Exp", x))
    rewrite(model, CanonicalPooledVector())
    assert counts(model) == {"GlobalAveragePool": 1, "Flatten": 1, "Exp": 1}


def _vector_gate(b: Builder, last: str = "Unsqueeze") -> ir.Value:
    x = b.op("Tanh", b.input("n", 6, 4, 5))
    y = b.op("Flatten", b.op("GlobalAveragePool", x))
    y = b.op("Relu", b.op("Gemm", y, b.random(3, 6), b.random(3), transB=1))
    y = b.op("HardSigmoid", b.op("Gemm", y, b.random(6, 3), b.random(6), transB=1), alpha=0.3)
    target = np.array([2, 3]) if last == "Unsqueeze" else np.array([0, 6, 1, 1])
    return b.op("Mul", x, b.op(last, y, target))


@pytest.mark.parametrize("last", ["Unsqueeze", "Reshape"])
def test_gates_of_linear_layers_become_convolutions(last: str) -> None:
    b = Builder()
    model = b.model(_vector_gate(b, last))
    assert rewrite(model, CanonicalPooledGate())[0].matches == 1
    names = {"Tanh": 1, "GlobalAveragePool": 1, "Conv": 2, "Relu": 1, "HardSigmoid": 1, "Mul": 1}
    assert counts(model) == names


def test_vectors_that_do_not_come_from_a_pooling_stay() -> None:
    b = Builder()
    y = b.op("Relu", b.op("Gemm", b.input("n", 6), b.random(3, 6), b.random(3), transB=1))
    model = b.model(b.op("Exp", b.op("Unsqueeze", y, np.array([2, 3]))))
    assert rewrite(model, CanonicalPooledGate())[0].matches == 0


def test_vectors_that_others_read_stay() -> None:
    b = Builder()
    y = b.op("Flatten", b.op("GlobalAveragePool", b.input("n", 6, 4, 5)))
    y = b.op("Gemm", y, b.random(3, 6), b.random(3), transB=1)
    model = b.model(b.op("Exp", b.op("Unsqueeze", y, np.array([2, 3]))), b.op("Relu", y))
    assert rewrite(model, CanonicalPooledGate())[0].matches == 0


EINSUMS = {
    "bci,bcj->bij": ((2, 3, 4), (2, 3, 5)),
    "bhic,bhjc->bhij": ((2, 2, 4, 3), (2, 2, 5, 3)),
    "bij, bcj -> bci": ((2, 4, 5), (2, 3, 5)),
    "ik,kj->ji": ((4, 3), (3, 5)),
    "bihc,bjhc->bhij": ((2, 4, 2, 3), (2, 5, 2, 3)),
}


@pytest.mark.parametrize("equation", EINSUMS)
def test_einsums_become_products(equation: str) -> None:
    b = Builder()
    left, right = EINSUMS[equation]
    y = b.op("Einsum", b.input(*left), b.input(*right, name="z"), equation=equation)
    model = b.model(b.op("Tanh", y))
    assert rewrite(model, CanonicalEinsum())[0].matches == 1
    assert set(counts(model)) <= {"Transpose", "MatMul", "Tanh"}


@pytest.mark.parametrize(
    "equation", ["bci,bcj->bi", "bci,bcj->bcij", "bci,bdj->bij", "...i,...i->...i"]
)
def test_other_einsums_are_refused(equation: str) -> None:
    assert read_equation(equation, 2) is None
    b = Builder()
    x = b.input(2, 3, 4)
    model = b.model(b.op("Einsum", x, equation="bci->bic"))
    assert "not a plain product" in reasons(rewrite(model, CanonicalEinsum())[0])


def test_old_opsets_move_up() -> None:
    b = Builder(opset=17)
    x = b.op("ReduceMean", b.input("n", 6, 4), axes=[1], keepdims=1)
    one, two = b.ops("Split", x, outputs=2, axis=2)
    model = b.model(b.op("Add", one, two))
    assert rewrite(model, SettleOpset())[0].matches == 1
    assert opset(model.graph) == 20
    assert attribute(only(model, "Split"), "num_outputs") == 2


def test_new_opsets_move_down() -> None:
    b = Builder(opset=23)
    model = b.model(b.op("Reshape", b.op("Relu", b.input("n", 6)), np.array([0, 2, 3])))
    assert rewrite(model, SettleOpset())[0].matches == 1
    assert opset(model.graph) == 20


def test_operators_that_the_opset_does_not_know_hold_it_back() -> None:
    b = Builder(opset=23)
    model = b.model(b.op("RMSNormalization", b.input("n", 6), b.random(6)))
    (result,) = rewrite(model, SettleOpset())
    assert result.matches == 0
    assert "does not exist in opset 20" in reasons(result)
    assert opset(model.graph) == 23


@pytest.mark.parametrize("sizes", [np.array([2, 4]), np.array(3)])
def test_sequences_become_splits(sizes: np.ndarray) -> None:
    b = Builder()
    parts = b.op("SplitToSequence", b.input("n", 6), sizes, axis=1)
    one = b.op("SequenceAt", parts, np.array(0))
    two = b.op("SequenceAt", parts, np.array(-1))
    model = b.model(b.op("Relu", one), b.op("Exp", two))
    assert rewrite(model, CanonicalSequence())[0].matches == 1
    assert counts(model) == {"Split": 1, "Relu": 1, "Exp": 1}


def test_sequences_that_are_used_whole_stay() -> None:
    b = Builder()
    parts = b.op("SplitToSequence", b.input(2, 6), np.array([2, 4]), axis=1)
    model = b.model(b.op("Cast", b.op("SequenceLength", parts), to=ir.DataType.FLOAT))
    assert "as a whole" in reasons(rewrite(model, CanonicalSequence())[0])
