"""Every standard operator of the engine against ONNX's own reference in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from engine_programs import module, run_step
from engine_standard import Standard, standard_cases

LIMIT = 4e-6  # of the largest output: a few roundings


@pytest.fixture(scope="module")
def cases(seed: int) -> dict[str, Standard]:
    return standard_cases(seed)


@pytest.mark.parametrize("name", list(standard_cases(0)))
def test_standard_operator(name, simd, cases, seed):
    case = cases[name]
    expected = case.expected()
    attributes = case.attributes_of_the_program()
    found = run_step(simd, case.operator, case.inputs, expected, attributes)
    for got, want in zip(found, expected, strict=True):
        if want.dtype != np.float32:
            np.testing.assert_array_equal(got, want, err_msg=f"ATTNC_TEST_SEED={seed}")
            continue
        scale = np.abs(want).max(initial=0) or 1.0
        np.testing.assert_allclose(
            got, want, rtol=LIMIT, atol=LIMIT * scale, err_msg=f"ATTNC_TEST_SEED={seed}"
        )


def test_every_standard_operator_has_a_case(cases):
    from attnc.compiler.ops import registry

    fused = {operator.name for operator in registry.OPERATORS}
    known = set(module("simd").operators()) - fused
    assert known == {case.operator for case in cases.values()}
