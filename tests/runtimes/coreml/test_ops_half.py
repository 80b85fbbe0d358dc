"""Programs in half precision: every operation computes wide and rounds once."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mil_formulas import convolution
from mil_programs import Array, converted, mb, numbers, run

from attnc.runtimes.coreml.evaluator import Evaluator

draw = numbers(181)


def half(*shape: int, low: float = -2.0, high: float = 2.0) -> Array:
    """Random numbers that half precision holds exactly."""
    return draw(*shape, low=low, high=high).astype(np.float16)


def steps_between(result: Array, wanted: Array) -> int:
    """The largest distance in neighbouring half-precision numbers."""

    def ordinal(values: Array) -> Array:
        bits = values.view(np.int16).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFF), bits)

    return int(np.max(np.abs(ordinal(result) - ordinal(wanted)), initial=0))


WEIGHT = half(4, 3, 3, 3)
MATRIX = half(7, 64)
BIAS = half(7)

PROGRAMS: dict[str, tuple[Callable[..., Any], Callable[..., Array], tuple[Array, ...]]] = {
    "add": (lambda x, y: mb.add(x=x, y=y), np.add, (half(3, 5), half(5))),
    "mul": (lambda x, y: mb.mul(x=x, y=y), np.multiply, (half(3, 5), half(5))),
    "exp": (lambda x: mb.exp(x=x), np.exp, (half(3, 5),)),
    "real_div": (lambda x, y: mb.real_div(x=x, y=y), np.divide, (half(3, 5), half(5, low=0.5))),
    "gelu": (
        lambda x: mb.gelu(x=x),
        np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2)))),
        (half(3, 5),),
    ),
    "reduce_sum": (
        lambda x: mb.reduce_sum(x=x, axes=[1]),
        lambda x: x.sum(1),
        (half(3, 4000, low=0, high=1),),
    ),
    "layer_norm": (
        lambda x: mb.layer_norm(x=x, axes=[-1], epsilon=np.float16(1e-3)),
        lambda x: (
            (x - x.mean(-1, keepdims=True))
            / np.sqrt(x.var(-1, keepdims=True) + float(np.float16(1e-3)))
        ),
        (half(2, 4, 16) * np.float16(16),),
    ),
    "softmax": (
        lambda x: mb.softmax(x=x),
        lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
        (half(3, 7),),
    ),
    "linear": (
        lambda x: mb.linear(x=x, weight=MATRIX, bias=BIAS),
        lambda x: x @ MATRIX.T.astype(np.float64) + BIAS,
        (half(5, 64),),
    ),
    "conv": (
        lambda x: mb.conv(x=x, weight=WEIGHT, pad_type="valid"),
        lambda x: convolution(x, WEIGHT, stride=[1, 1], pad=[(0, 0)] * 2, dilation=[1, 1]),
        (half(1, 3, 6, 6),),
    ),
    "avg_pool": (
        lambda x: mb.avg_pool(x=x, kernel_sizes=[8, 8], pad_type="valid"),
        lambda x: x.mean((2, 3), keepdims=True),
        (half(1, 3, 8, 8),),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_one_operation_is_rounded_once(name: str, tmp_path: Path) -> None:
    build, formula, inputs = PROGRAMS[name]
    package = converted(tmp_path, build, inputs, "iOS16")
    assert [output.dtype for output in package.outputs] == ["fp16"]
    (result,) = run(package, inputs)
    assert result.dtype == np.float16
    wanted = formula(*(array.astype(np.float64) for array in inputs)).astype(np.float16)
    # Where float32 and float64 fall on two sides of a tie, the rounded numbers are neighbours.
    assert steps_between(result, wanted) <= 1
    assert np.mean(result != wanted) < 0.1


def test_every_operation_of_a_chain_is_rounded(tmp_path: Path) -> None:
    x = np.array([1.0, 2049.0, 0.1], np.float16)
    package = converted(
        tmp_path,
        lambda x: mb.sub(x=mb.add(x=x, y=np.float16(2048)), y=np.float16(2048)),
        (x,),
        "iOS16",
    )
    seen: list[tuple[str, Any]] = []
    answers = Evaluator(package).run(
        {"x0": x}, watch=lambda operation, results: seen.append((operation.type, results[0]))
    )
    (result,) = answers.values()
    # 2049 is no half-precision number, and ties go to the even neighbour.
    assert result.tolist() == [0.0, 2048.0, 0.0]
    assert [kind for kind, _ in seen if kind != "const"] == ["add", "sub"]
    assert all(values.dtype == np.float16 for kind, values in seen if kind != "const")


def test_results_beyond_the_range_are_infinite(tmp_path: Path) -> None:
    x = np.array([300.0, -300.0, 2.0], np.float16)
    package = converted(tmp_path, lambda x: mb.mul(x=x, y=np.float16(300)), (x,), "iOS16")
    (result,) = run(package, (x,))
    assert result.tolist() == [np.inf, -np.inf, 600.0]
