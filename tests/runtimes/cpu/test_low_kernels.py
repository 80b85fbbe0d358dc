"""Linear layers in fewer bits against float64, on every instruction set of this processor."""

from __future__ import annotations

import ctypes

import numpy as np
import onnxruntime as ort
import pytest
from kernel_cases import Case
from kernel_harness import Harness
from low_cases import limit, low_cases

from attnc.runtimes.cpu.library import cpu_sets, register

NAMES = list(low_cases(np.random.default_rng(0)))


@pytest.fixture(scope="module")
def cases(seed: int) -> dict[str, Case]:
    return low_cases(np.random.default_rng(seed))


@pytest.fixture(params=cpu_sets())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ATTNC_CPU_ISA", request.param)
    return str(request.param)


def run(case: Case, library, threads: int = 1, **options) -> np.ndarray:
    """The case in ONNX Runtime."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = threads, 3
    register(settings, library)
    session = ort.InferenceSession(
        case.model(**options), settings, providers=["CPUExecutionProvider"]
    )
    return session.run(None, case.feeds(constant=options.get("constant", True)))[0]


@pytest.mark.parametrize("name", NAMES)
def test_in_onnx_runtime(name, isa, cases, library, seed) -> None:
    case = cases[name]
    results = [run(case, library, threads) for threads in (1, 2)]
    np.testing.assert_array_equal(*results)
    assert case.error(results[0]) <= limit(case, isa), f"ATTNC_TEST_SEED={seed}"


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_with_poisoned_memory(name, threads, isa, cases, bench_library, seed) -> None:
    case = cases[name]
    status, y = Harness(bench_library, isa, threads).call(case, offset=1 if threads else 0)
    assert status == 0
    assert case.error(y) <= limit(case, isa), f"ATTNC_TEST_SEED={seed}"


@pytest.mark.parametrize("bits", ["Half", "Int8"])
def test_a_row_does_not_feel_another(bits, isa, cases, library) -> None:
    """Rows have factors of their own: one that is 10^30 times as large changes no other."""
    case = cases[f"Linear{bits}-m14k75n33"]
    expected = run(case, library)
    case = Case(case.op, case.x.copy(), case.weights, case.attributes, case.expected)
    case.x[0, 0] *= np.float32(1e30)
    case.x[1, 3] = 0
    got = run(case, library)
    np.testing.assert_array_equal(got[0, 1:], expected[0, 1:])
    bias = np.broadcast_to(case.weights[2][:33], (33,))
    lowest = max(case.attributes["min"], -3e38)
    np.testing.assert_array_equal(got[1, 3], np.clip(bias, lowest, case.attributes["max"]))
    assert np.isfinite(got).all()


@pytest.mark.parametrize("bits", ["Half", "Int8"])
def test_nan_and_infinity_pass_through(bits, isa, cases, library) -> None:
    case = cases[f"LinearAdd{bits}-m14k75n33"]
    case = Case(case.op, case.x.copy(), case.weights, case.attributes, case.expected, case.dynamic)
    case.attributes = {**case.attributes, "min": -3.4028234663852886e38}
    case.x[0, 0, 0], case.x[0, 1, 5] = np.nan, np.inf
    y = run(case, library)
    assert not np.isfinite(y[0, :2]).any()
    assert np.isfinite(y[0, 2:]).all()
    assert np.isfinite(y[1]).all()


@pytest.mark.parametrize("bits", ["Half", "Int8"])
def test_weights_that_are_no_initializers(bits, cases, library) -> None:
    case = cases[f"NormLinearGelu{bits}-m300k37n75"]
    np.testing.assert_array_equal(run(case, library), run(case, library, constant=False))


def test_an_empty_batch_and_scratch_that_cannot_be_had(isa, cases, bench_library, library) -> None:
    case = cases["LinearInt8-m14k75n33"]
    empty = Case(case.op, case.x[:0], case.weights, case.attributes, case.expected)
    assert run(empty, library).shape == (0, *case.expected.shape[1:])
    assert Harness(bench_library, isa, fail_alloc=True).call(case)[0] == 1


def test_another_width_is_refused(cases, library) -> None:
    case = cases["LinearInt8-m14k75n33"]
    narrow = Case(case.op, case.x[..., :74].copy(), case.weights, case.attributes, case.expected)
    with pytest.raises(Exception, match="another width than in_features"):
        run(narrow, library)


def test_sets_have_products_of_their_own(bench_library) -> None:
    """What a name promises after its plus is what is called."""
    library = ctypes.CDLL(str(bench_library))
    library.attnc_low.restype = ctypes.c_void_p
    found = {isa: [library.attnc_low(isa.encode(), bits) for bits in (0, 1)] for isa in cpu_sets()}
    for isa, (half, int8) in found.items():
        base = isa.split("+")[0]
        assert (half != found[base][0]) == ("+fp16" in isa)
        assert (int8 != found[base][1]) == ("+dot" in isa or "+vnni" in isa)
