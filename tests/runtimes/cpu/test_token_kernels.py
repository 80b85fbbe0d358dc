"""What the shared template does not ask of the token-wise layers: the quality of GELU and of the
norm at the edges, values that are not finite, and the independence of rows and threads."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import Harness

from attnc.compiler.ops.linear import NORM_LINEAR, hard_rows
from attnc.compiler.ops.linear_packed import lowering
from attnc.compiler.ops.packing import pack_matrix, pack_vector
from attnc.compiler.ops.reference import gelu, layer_norm
from attnc.runtimes.cpu.library import cpu_features

INF = float("inf")


@pytest.fixture(params=cpu_features())
def harness(request: pytest.FixtureRequest, bench_library) -> Harness:
    return Harness(bench_library, request.param)


def linear(h: Harness, x, w, b=None, r=None, *, norm=0, act=0, epsilon=1e-5) -> np.ndarray:
    """The kernel on plain w [N, K]."""
    n, k = w.shape
    bias = pack_vector(np.zeros(n, np.float32) if b is None else b)
    inputs = [x, pack_matrix(np.ascontiguousarray(w.T)), bias, r]
    status, (y,) = h.call_kernel(
        "linear_f32", inputs, [(len(x), n)], [len(x), k, n, norm, act], [epsilon, -INF, INF]
    )
    assert status == 0
    return y


def identity(n: int) -> np.ndarray:
    return np.eye(n, dtype=np.float32)


def test_gelu_is_exact_to_rounding_everywhere(harness):
    x = np.concatenate([np.linspace(-8, 8, 6400), np.geomspace(8, 3e38, 200)])
    x = np.concatenate([x, -x[-200:]]).astype(np.float32).reshape(-1, 40)
    y = linear(harness, x, identity(40), act=1)
    error = np.abs(y - gelu(x)) / np.maximum(1.0, np.abs(x))
    assert error.max() <= 2e-7
    assert (y[np.abs(x) > 40] == np.maximum(x[np.abs(x) > 40], 0)).all()


def test_gelu_of_what_is_not_finite(harness):
    x = np.zeros((3, 1), np.float32)
    x[:, 0] = np.nan, np.inf, -np.inf
    y = linear(harness, x, np.ones((21, 1), np.float32), act=1)
    assert np.isnan(y[0]).all()
    assert (y[1] == np.inf).all()
    assert (y[2] == 0).all()


@pytest.mark.parametrize("k", [1, 2, 15, 64, 384])
@pytest.mark.parametrize("value", [0.0, 0.7, -3e4])
def test_a_row_of_equal_values_is_normalised_to_nothing(harness, k, value):
    x = np.full((5, k), value, np.float32)
    y = linear(harness, x, identity(k), norm=1)
    np.testing.assert_array_less(np.abs(y), 1e-6)


@pytest.mark.parametrize("offset", [0.0, 100.0, -1e4])
def test_the_norm_of_values_far_from_zero(harness, offset):
    x = (np.random.default_rng(0).standard_normal((70, 75)) + offset).astype(np.float32)
    y = linear(harness, x, identity(75), norm=1, epsilon=1e-6)
    np.testing.assert_allclose(y, layer_norm(x, 1e-6), atol=1e-5)


@pytest.mark.parametrize("rows", [7, 100, 197])
def test_a_value_that_is_not_finite_stays_in_its_row(harness, rows):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, 33)).astype(np.float32)
    x[3, 5] = np.nan
    for options in ({}, {"norm": 1}, {"norm": 1, "act": 1}):
        w = rng.standard_normal((40, 33)).astype(np.float32)
        bad = ~np.isfinite(linear(harness, x, w, **options)).all(1)
        assert bad.tolist() == [row == 3 for row in range(rows)]


def test_no_rows_give_nothing(harness):
    assert linear(harness, np.zeros((0, 5), np.float32), identity(5), norm=1).shape == (0, 5)


@pytest.mark.parametrize("rows", [1, 95, 96, 197, 300])
@pytest.mark.parametrize("hidden", [16, 250, 530])
def test_the_block_at_every_cut(harness, rows, hidden):
    rng = np.random.default_rng(rows + hidden)
    c = 36
    x = hard_rows(rng, 3, rows, c)
    w1, w2 = (rng.standard_normal(s).astype(np.float32) / 6 for s in ((hidden, c), (c, hidden)))
    b1, b2 = (rng.standard_normal(s).astype(np.float32) for s in (hidden, c))
    inputs = [x, pack_matrix(w1.T), pack_vector(b1), pack_matrix(w2.T), pack_vector(b2)]
    status, (y,) = harness.call_kernel("mlp_f32", inputs, [(rows, c)], [rows, c, hidden], [1e-6])
    assert status == 0
    wide = (a.astype(np.float64) for a in (w1, w2))
    up, down = wide
    want = x + gelu(layer_norm(x, 1e-6) @ up.T + b1) @ down.T + b2
    assert np.abs(y - want).max() <= 1e-5 * np.abs(want).max()


def test_scratch_that_cannot_be_had_is_reported(bench_library):
    h = Harness(bench_library, cpu_features()[-1], fail_alloc=True)
    example = lowering(NORM_LINEAR).examples(np.random.default_rng(0))[0]
    x, w, b = example.inputs
    rows, k, n = x.size // x.shape[-1], x.shape[-1], example.attributes["out_features"]
    status, _ = h.call_kernel(
        "linear_f32", [x, w, b, None], [(rows, n)], [rows, k, n, 1, 0], [1e-5, -INF, INF]
    )
    assert status == 1
    mlp = [np.zeros((2, 1), np.float32), *(np.zeros((1, 16), np.float32),) * 4]
    assert h.call_kernel("mlp_f32", mlp, [(2, 1)], [2, 1, 1], [1e-5])[0] == 1
