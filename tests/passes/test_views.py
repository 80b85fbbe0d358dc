"""Index maps of data movement: against ONNX Runtime on random chains, and the refusals."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import Builder, compute

from attnc.passes.activations import RELU
from attnc.passes.graph import Refuse
from attnc.passes.views import token_channels, trace

SIZES = (2, 6, 4, 3)


def _factor_pairs(sizes: list[int], rng: np.random.Generator) -> list[int]:
    """Another shape for the same number of elements."""
    flat = int(np.prod(sizes))
    parts = []
    while flat > 1:
        divisors = [d for d in range(2, flat + 1) if flat % d == 0]
        parts.append(int(rng.choice(divisors)))
        flat //= parts[-1]
    return parts or [1]


def _random_step(  # noqa: PLR0911
    b: Builder, value: ir.Value, sizes: list[int]
) -> tuple[ir.Value, list[int]]:
    rng = b.rng
    axis = int(rng.integers(len(sizes)))
    kind = rng.choice(["Reshape", "Transpose", "Slice", "Gather", "Split", "Concat", "Unsqueeze"])
    if kind == "Reshape":
        sizes = _factor_pairs(sizes, rng)
        return b.op("Reshape", value, np.array(sizes)), sizes
    if kind == "Transpose":
        perm = [int(p) for p in rng.permutation(len(sizes))]
        return b.op("Transpose", value, perm=perm), [sizes[p] for p in perm]
    if kind == "Gather":
        picked = rng.integers(0, sizes[axis], 2)
        sizes = [*sizes[:axis], 2, *sizes[axis + 1 :]]
        return b.op("Gather", value, picked, axis=axis), sizes
    if kind == "Slice" and sizes[axis] > 1:
        step = int(rng.choice([1, 2, -1]))
        start, end = (sizes[axis] - 1, -(2**62)) if step < 0 else (1, 2**62)
        sizes = [
            *sizes[:axis],
            len(range(sizes[axis])[start :: step if step > 0 else -1]),
            *sizes[axis + 1 :],
        ]
        return b.op("Slice", value, [start], [end], [axis], [step]), sizes
    if kind == "Split" and sizes[axis] > 1:
        parts = b.ops("Split", value, np.array([1, sizes[axis] - 1]), outputs=2, axis=axis)
        return parts[1], [*sizes[:axis], sizes[axis] - 1, *sizes[axis + 1 :]]
    if kind == "Concat":
        sizes = [*sizes[:axis], 2 * sizes[axis], *sizes[axis + 1 :]]
        return b.op("Concat", value, value, axis=axis), sizes
    return b.op("Unsqueeze", value, np.array([axis])), [*sizes[:axis], 1, *sizes[axis:]]


@pytest.mark.parametrize("seed", range(25))
def test_indices_are_what_the_chain_does(seed: int) -> None:
    b = Builder(seed=seed)
    x = b.input(*SIZES)
    start = b.op("Relu", x)
    value, sizes = start, list(SIZES)
    for _ in range(6):
        value, sizes = _random_step(b, value, sizes)
    model = b.model(value)
    view = trace(value)
    assert view.sources == (start,)
    data = np.arange(np.prod(SIZES), dtype=np.float32).reshape(SIZES)
    (expected,) = compute(model, {"x": data})
    assert np.array_equal(view.indices(2), expected.astype(np.int64))


def test_symbolic_batch_is_probed_with_two_sizes() -> None:
    b = Builder()
    start = b.op("Relu", b.input("batch", 6, 2, 2))
    value = b.op("Reshape", start, np.array([0, 6, -1]))
    b.model(value)
    view = trace(value)
    assert view.batches() == (2, 3)
    assert view.indices(3).shape == (3, 6, 4)


def test_fixed_batch_is_taken_as_it_is() -> None:
    b = Builder()
    start = b.op("Relu", b.input(5, 6, 2, 2))
    value = b.op("Flatten", start)
    b.model(value)
    assert trace(value).batches() == (5,)


def test_factors_multiply_wherever_they_stand() -> None:
    b = Builder()
    start = b.op("Relu", b.input(1, 4, 3))
    value = b.op("Mul", np.array(0.5, np.float32), start)
    value = b.op("Transpose", value, perm=[0, 2, 1])
    value = b.op("Div", value, np.array([4.0], np.float32))
    b.model(value)
    assert trace(value, factors=True).scale == pytest.approx(0.125)
    assert trace(value).source is value


def test_a_factor_that_adds_axes_is_not_passed() -> None:
    b = Builder()
    start = b.op("Relu", b.input(4, 3))
    value = b.op("Mul", start, np.full((1, 1, 1), 2.0, np.float32))
    b.model(value)
    assert trace(value, factors=True).source is value


def test_clamps_of_joined_parts_must_agree() -> None:
    b = Builder()
    one, two = b.op("Exp", b.input(1, 4, 3)), b.op("Sin", b.input(1, 4, 3, name="z"))
    both = b.op("Concat", b.op("Relu", one), b.op("Relu", two), axis=1)
    uneven = b.op("Concat", b.op("Relu", one), two, axis=1)
    b.model(both, uneven)
    assert trace(both, clamps=True).clamp == RELU
    assert set(trace(both, clamps=True).sources) == {one, two}
    with pytest.raises(Refuse, match="scaled or clamped differently"):
        trace(uneven, clamps=True)


def test_indices_need_constant_targets() -> None:
    b = Builder()
    x = b.op("Relu", b.input("batch", "height", 3))
    target = b.op("Identity", b.input(2, name="target", dtype=ir.DataType.INT64))
    value = b.op("Reshape", x, target)
    b.model(value)
    with pytest.raises(Refuse, match="symbolic"):
        trace(value).indices(2)


def test_stops_end_the_walk() -> None:
    b = Builder()
    x = b.input(1, 4, 3)
    middle = b.op("Transpose", x, perm=[0, 2, 1])
    value = b.op("Reshape", middle, np.array([12]))
    b.model(value)
    assert trace(value).source is x
    assert trace(value, stops={middle}).source is middle


def test_token_channels() -> None:
    source = np.arange(2 * 5 * 6).reshape(2, 5, 6)
    tokens = source[:, [3, 1], :].transpose(0, 2, 1)
    assert token_channels(tokens, (2, 5, 2, 3)).tolist() == [3, 1]
    assert token_channels(tokens[:, ::-1], (2, 5, 2, 3)) is None
    assert token_channels(tokens[:, :5], (2, 5, 2, 3)) is None
    assert token_channels(tokens[::-1], (2, 5, 2, 3)) is None
