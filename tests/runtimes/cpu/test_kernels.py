"""Every kernel against float64, on every instruction set of this processor, through ONNX Runtime
and through the plain C interface."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest
from kernel_cases import Case, all_cases
from kernel_harness import Harness
from registry_cases import registry_cases

from attnc.runtimes.cpu.library import cpu_features, register

LIMIT = 1e-5  # of the largest output; float32 sums of up to 1400 products


def every_case(seed: int) -> dict[str, Case]:
    rng = np.random.default_rng(seed)
    return all_cases(rng) | registry_cases(rng)


NAMES = list(every_case(0))


@pytest.fixture(scope="module")
def cases(seed: int) -> dict[str, Case]:
    return every_case(seed)


@pytest.fixture(params=cpu_features())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ATTNC_CPU_ISA", request.param)
    return request.param


def open_session(library, model: bytes, threads: int = 1) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    register(options, library)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def assert_close(y: np.ndarray, case: Case, seed: int) -> None:
    assert y.shape == case.expected.shape
    error = case.error(y)
    limit = LIMIT + 2 * case.slack  # both factors of a logit are rounded
    assert error <= limit, f"relative error {error} with ATTNC_TEST_SEED={seed}"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_kernel_in_onnx_runtime(name, threads, isa, cases, library, seed):
    case = cases[name]
    session = open_session(library, case.model(), threads)
    assert_close(session.run(None, case.feeds())[0], case, seed)


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_kernel_with_poisoned_memory(name, threads, isa, cases, bench_library, seed):
    case = cases[name]
    status, y = Harness(bench_library, isa, threads).call(case, offset=1 if threads else 0)
    assert status == 0
    assert_close(y, case, seed)


@pytest.mark.parametrize("name", ["conv-s2", "ffn-49", "att-49", "ib-odd", "pool"])
def test_threads_do_not_change_a_bit(name, isa, cases, library):
    case = cases[name]
    results = [
        open_session(library, case.model(), threads).run(None, case.feeds())[0]
        for threads in (1, 2, 3)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_weights_that_are_no_initializers(isa, cases, library, seed):
    for name in ("conv-1x1", "dw-s1", "ffn-49", "att-5", "ib-odd", "pool-odd"):
        case = cases[name]
        session = open_session(library, case.model(constant=False))
        assert_close(session.run(None, case.feeds(constant=False))[0], case, seed)


def test_concurrent_runs_of_one_session(cases, library, seed):
    for name in ("att-64", "ib-odd", "ffn-many"):
        case = cases[name]
        session = open_session(library, case.model(), 2)
        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(session.run, None, case.feeds()) for _ in range(24)]
            for run in runs:
                assert_close(run.result()[0], case, seed)


def test_sessions_of_different_instruction_sets_side_by_side(cases, library, seed, monkeypatch):
    case, sessions = cases["ffn-49"], []
    for isa in cpu_features():
        monkeypatch.setenv("ATTNC_CPU_ISA", isa)
        sessions.append(open_session(library, case.model()))
    results = [s.run(None, case.feeds())[0] for s in sessions]
    for y in results:
        assert_close(y, case, seed)


def test_nan_and_infinity_pass_through(isa, cases, library):
    case = cases["ffn-49"]
    x = case.x.copy()
    x[0, 0, 0, 0], x[0, 1, 1, 0] = np.nan, np.inf
    y = open_session(library, case.model()).run(None, {"x": x})[0]
    assert np.isnan(y[0, 0, 0]).all()
    assert not np.isfinite(y[0, 1, 1, 0])
    assert np.isfinite(y[0, 2]).all()


def test_an_empty_batch_gives_an_empty_output(isa, cases, library):
    for name in ("conv-1x1", "dw-s1", "ffn-49", "att-5", "ib-odd", "pool-odd"):
        case = cases[name]
        y = open_session(library, case.model()).run(None, {"x": case.x[:0]})[0]
        assert y.shape == (0, *case.expected.shape[1:])


def test_scratch_that_cannot_be_had_is_reported(isa, cases, bench_library):
    for name in ("ffn-49", "att-49", "att-16", "ib-odd", "pool"):
        assert Harness(bench_library, isa, fail_alloc=True).call(cases[name])[0] == 1
