"""The window attention kernel against float64: all variants, poisoned memory, any task order."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from kernel_cases import Case
from kernel_harness import Harness

from attnc.compiler.ops.window_attention import VARIANTS
from attnc.runtimes.cpu.library import cpu_features, register

LIMIT = 1e-5  # of the largest output


def window_cases(seed: int) -> dict[str, Case]:
    """One case per hard input of each variant."""
    rng, cases = np.random.default_rng(seed), {}
    for operator in VARIANTS.values():
        for example in operator.examples(rng):
            qkv, *residual = example.inputs
            expected = operator.reference(*example.inputs, **example.attributes)
            cases[f"{operator.name}-{example.label}"] = Case(
                operator.name, qkv, [], dict(example.attributes), expected, residual
            )
    return cases


@pytest.mark.parametrize("isa", cpu_features())
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", list(window_cases(0)))
def test_kernel_in_onnx_runtime(name, threads, isa, library, seed, monkeypatch):
    monkeypatch.setenv("ATTNC_CPU_ISA", isa)
    case = window_cases(seed)[name]
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    register(options, library)
    session = ort.InferenceSession(case.model(), options, providers=["CPUExecutionProvider"])
    y = session.run(None, case.feeds())[0]
    assert y.shape == case.expected.shape
    assert case.error(y) <= LIMIT, f"with ATTNC_TEST_SEED={seed}"


@pytest.mark.parametrize("isa", cpu_features())
@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("name", list(window_cases(0)))
def test_kernel_with_poisoned_memory(name, threads, isa, bench_library, seed):
    case = window_cases(seed)[name]
    status, y = Harness(bench_library, isa, threads).call(case, offset=1 if threads else 0)
    assert status == 0
    assert case.error(y) <= LIMIT, f"with ATTNC_TEST_SEED={seed}"


@pytest.mark.parametrize("isa", cpu_features())
def test_the_order_of_tasks_does_not_change_a_bit(isa, bench_library, seed):
    case = window_cases(seed)["WindowAttentionPooled-wide"]
    one, other = (Harness(bench_library, isa, threads).call(case)[1] for threads in (0, 3))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("isa", cpu_features())
def test_scratch_that_cannot_be_had_is_reported(isa, bench_library, seed):
    case = window_cases(seed)["WindowAttention-wide"]
    assert Harness(bench_library, isa, fail_alloc=True).call(case)[0] == 1
