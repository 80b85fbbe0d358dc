"""The sparse attention kernel against float64: hard inputs, poisoned memory, the models' sizes."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from kernel_cases import Case
from kernel_harness import Harness

from attnc.compiler.ops import sparse_attention as sparse
from attnc.compiler.ops.base import NO_MIN, Operator
from attnc.compiler.ops.sparse_attention_examples import clear_rows
from attnc.runtimes.cpu.library import cpu_features, register

LIMIT = 1e-5  # of the largest output
OPERATORS = (sparse.SPARSE_ATTENTION, sparse.SPARSE_ATTENTION_ACTIVE)
#: tokens, rank, keys kept: Sparsifiner-S at 224 and 384 pixels
MODELS = {"s-224": (197, 32, 50), "s-384": (577, 96, 145)}


def as_case(operator: Operator, inputs, attributes) -> Case:
    x, *weights = inputs
    active = [weights.pop()] if operator is sparse.SPARSE_ATTENTION_ACTIVE else []
    expected = operator.reference(*inputs, **attributes)
    return Case(operator.name, x, weights, dict(attributes), expected, active)


def hard_cases(seed: int) -> dict[str, Case]:
    """One case per hard input of both operators."""
    rng = np.random.default_rng(seed)
    return {
        f"{operator.name}-{example.label}": as_case(operator, example.inputs, example.attributes)
        for operator in OPERATORS
        for example in operator.examples(rng)
    }


NAMES = list(hard_cases(0))


def model_case(name: str, seed: int) -> Case:
    """One image at a published size, two of six heads."""
    rng, (tokens, rank, keep) = np.random.default_rng(seed), MODELS[name]
    heads, dim, narrow = 2, 64, 32

    def normal(*shape, scale=1.0):
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    basis = np.abs(normal(rank, tokens, scale=0.05))
    inputs = (
        normal(1, tokens, 3 * heads * dim),
        *(normal(narrow, dim, scale=dim**-0.5), normal(narrow, scale=0.1)),
        *(normal(narrow, dim, scale=dim**-0.5), normal(narrow, scale=0.1)),
        normal(tokens, rank, scale=0.5 * (tokens * narrow) ** -0.5),
        np.where(basis > 0.02, basis, 0).astype(np.float32),
    )
    attributes = {
        **{"heads": heads, "dim": dim, "coef_topk": 8, "coef_threshold": NO_MIN, "keep": keep},
        **{"score_threshold": NO_MIN, "scale": dim**-0.5, "coef_scale": heads**-0.5},
    }
    return as_case(sparse.SPARSE_ATTENTION, inputs, attributes)


def in_session(library, case: Case, threads: int = 1) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    register(options, library)
    model = case.model(symbolic=False)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, case.feeds())[0]


@pytest.mark.parametrize("isa", cpu_features())
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_kernel_in_onnx_runtime(name, threads, isa, library, seed, monkeypatch):
    monkeypatch.setenv("ATTNC_CPU_ISA", isa)
    case = hard_cases(seed)[name]
    y = in_session(library, case, threads)
    assert y.shape == case.expected.shape
    assert case.error(y) <= LIMIT, f"with ATTNC_TEST_SEED={seed}"


@pytest.mark.parametrize("isa", cpu_features())
@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_kernel_with_poisoned_memory(name, threads, isa, bench_library, seed):
    case = hard_cases(seed)[name]
    status, y = Harness(bench_library, isa, threads).call(case, offset=1 if threads else 0)
    assert status == 0
    assert case.error(y) <= LIMIT, f"with ATTNC_TEST_SEED={seed}"


@pytest.mark.parametrize("isa", cpu_features())
@pytest.mark.parametrize("name", MODELS)
def test_rows_without_a_near_tie_are_right_at_the_models_sizes(name, isa, bench_library, seed):
    case = model_case(name, seed)
    y = Harness(bench_library, isa, 3).call(case)[1]
    inputs = [case.x, *case.weights]
    clear = clear_rows(inputs, np.ones(case.x.shape[:2]), case.attributes, least_gap=1e-5)
    assert clear.mean() > 0.7
    wrong = np.abs(y - case.expected) > LIMIT * np.abs(case.expected).max()
    by_head = wrong.reshape(1, len(y[0]), 2, 64).any(axis=-1).transpose(0, 2, 1)
    assert not (by_head & clear).any(), f"with ATTNC_TEST_SEED={seed}"
    assert by_head.mean() < 0.01


@pytest.mark.parametrize("isa", cpu_features())
def test_the_order_of_tasks_does_not_change_a_bit(isa, bench_library, seed):
    case = model_case("s-224", seed)
    one, other = (Harness(bench_library, isa, threads).call(case)[1] for threads in (0, 3))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("isa", cpu_features())
def test_a_query_of_nan_gives_nan_and_leaves_the_others_alone(isa, bench_library, seed):
    case = hard_cases(seed)["SparseAttention-all-kept"]
    case.x[0, 5, :64] = np.nan  # the query of token 5, all of its two heads
    y = Harness(bench_library, isa).call(case)[1]
    assert np.isnan(y[0, 5]).all()
    assert np.isfinite(np.delete(y, 5, axis=1)).all()


@pytest.mark.parametrize("isa", cpu_features())
def test_scratch_that_cannot_be_had_is_reported(isa, bench_library, seed):
    case = hard_cases(seed)["SparseAttention-n37"]
    assert Harness(bench_library, isa, fail_alloc=True).call(case)[0] == 1


@pytest.mark.parametrize(
    ("place", "array", "reason"),
    [
        (4, np.zeros((36, 6), np.float32), "another number of tokens"),
        (0, np.zeros((32, 63), np.float32), "do not take dim channels"),
        (5, np.zeros((5, 37), np.float32), "different ranks"),
    ],
)
def test_a_predictor_that_does_not_fit_is_refused(place, array, reason, library, seed):
    case = hard_cases(seed)["SparseAttention-n37"]
    case.weights[place] = array
    with pytest.raises(Exception, match=reason):
        in_session(library, case)
