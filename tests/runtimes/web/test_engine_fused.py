"""Every fused operator in the engine against float64, on the inputs that the kernels' tests use."""

from __future__ import annotations

import numpy as np
import pytest
from engine_programs import module, run_step
from kernel_cases import Case, all_cases
from registry_cases import registry_cases
from slot_rounding import slacks

from attnc.compiler.ops import registry
from attnc.compiler.ops.base import Example, Operator
from attnc.targets.cpu.lower import DIRECT

LIMIT = 1e-5  # as for the kernels on other processors


def every_case(seed: int) -> dict[str, Case]:
    rng = np.random.default_rng(seed)
    return all_cases(rng) | registry_cases(rng)


@pytest.fixture(scope="module")
def cases(seed: int) -> dict[str, Case]:
    return every_case(seed)


def outputs_of(case: Case) -> list[np.ndarray]:
    wanted = case.expected if isinstance(case.expected, tuple) else (case.expected,)
    return [np.asarray(y, np.int64 if y.dtype.kind == "i" else np.float32) for y in wanted]


@pytest.mark.parametrize("name", list(every_case(0)))
def test_fused_operator(name, simd, cases, seed):
    case = cases[name]
    inputs = [case.x, *case.weights, *case.dynamic]
    (y,) = run_step(simd, f"attnc.{case.op}", inputs, outputs_of(case), case.attributes)
    # Without relaxed SIMD products are rounded before they are added.
    error, limit = case.error(y), 2 * LIMIT + 4 * case.slack
    assert error <= limit, f"relative error {error} with ATTNC_TEST_SEED={seed}"


def examples(seed: int) -> dict[str, tuple[Operator, Example]]:
    """The operators that the CPU takes as the passes wrote them, with their own hard inputs."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in sorted(DIRECT):
        for example in registry.get(name).examples(rng):
            found[f"{name}-{example.label}"] = registry.get(name), example
    return found


@pytest.fixture(scope="module")
def direct(seed: int) -> dict[str, tuple[Operator, Example]]:
    return examples(seed)


@pytest.mark.parametrize("name", list(examples(0)))
def test_operator_without_packed_weights(name, simd, direct, seed):
    operator, example = direct[name]
    expected = operator.reference(*example.inputs, **example.attributes)
    expected = expected if isinstance(expected, tuple) else (expected,)
    like = [np.asarray(y, np.int64 if y.dtype.kind == "i" else np.float32) for y in expected]
    found = run_step(simd, f"attnc.{operator.name}", example.inputs, like, example.attributes)
    allowed = slacks(operator.name, example, expected)
    for got, want, slack in zip(found, expected, allowed, strict=True):
        scale = float(np.abs(want).max(initial=0)) or 1.0
        error = float(np.abs(got - want).max(initial=0)) / scale
        assert error <= 2 * LIMIT + 2 * slack, f"relative error {error} with ATTNC_TEST_SEED={seed}"


def test_every_operator_that_the_cpu_lowers_to_is_tested(cases, direct):
    lowered = {operator.name for operator in registry.LOWERED}
    tested = {case.op for case in cases.values()} | {op.name for op, _ in direct.values()}
    assert lowered | DIRECT == tested & set(module("simd").operators())
