"""Every operator of the engine and damaged programs under AddressSanitizer and UBSan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from engine_native import Given, arrays, build, run_all
from engine_programs import one_step
from engine_standard import standard_cases
from kernel_cases import LEAST_SCALE
from slot_rounding import slacks
from test_engine_fused import every_case, examples, outputs_of

from attnc.targets.web import program as form

pytestmark = pytest.mark.slow
DAMAGED = 10_000


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("native"))


def given(operator, inputs, outputs, attributes) -> Given:
    layout, program = one_step(operator, inputs, outputs, attributes)
    return Given(form.to_bytes(program), bytes(layout.data), np.asarray(inputs[0]).tobytes())


def all_operators(seed: int) -> Iterator[tuple[str, Given, list[np.ndarray], float]]:
    """Name, program, the outputs expected, the relative error allowed."""
    for name, case in standard_cases(seed).items():
        expected = case.expected()
        made = given(case.operator, case.inputs, expected, case.attributes_of_the_program())
        yield name, made, expected, 4e-6
    for name, case in every_case(seed).items():
        inputs, like = [case.x, *case.weights, *case.dynamic], outputs_of(case)
        made = given(f"attnc.{case.op}", inputs, like, case.attributes)
        yield name, made, like, 2e-5 + 4 * case.slack
    for name, (operator, example) in examples(seed).items():
        wanted = operator.reference(*example.inputs, **example.attributes)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        like = [np.asarray(y, np.int64 if y.dtype.kind == "i" else np.float32) for y in wanted]
        made = given(f"attnc.{operator.name}", example.inputs, like, example.attributes)
        yield name, made, like, 2e-5 + 2 * max(slacks(operator.name, example, wanted))


def test_every_operator_stays_in_its_memory(binary, tmp_path, seed):
    cases = list(all_operators(seed))
    results = run_all(binary, tmp_path, [case[1] for case in cases])
    assert len(results) > 500
    for (name, _, expected, limit), result in zip(cases, results, strict=True):
        assert result.output is not None, f"{name}: {result.said}"
        for got, want in zip(arrays(result.output, expected), expected, strict=True):
            scale = max(float(np.abs(want).max(initial=0)), LEAST_SCALE)
            error = np.abs(got.astype(np.float64) - want).max(initial=0) / scale
            assert error <= limit, f"{name}: {error} with ATTNC_TEST_SEED={seed}"


def damaged(seed: int) -> Iterator[Given]:
    """Programs of every operator with a word changed, often to a number that is nearly right."""
    rng = np.random.default_rng(seed)
    whole = [case[1] for case in all_operators(seed)]
    for index in rng.integers(0, len(whole), DAMAGED):
        words = np.frombuffer(whole[index].program[: len(whole[index].program) // 4 * 4], "<u4")
        words = words.copy()
        for place in rng.integers(2, len(words), rng.integers(1, 3)):
            near = int(words[place]) + int(rng.integers(-2, 3))
            values = (near, int(rng.integers(0, 2**32)), 2**31 - 1, 2**32 - 1, 0)
            words[place] = values[rng.integers(0, len(values))] % 2**32
        tail = whole[index].program[len(words) * 4 :]
        yield Given(words.tobytes() + tail, whole[index].weights, whole[index].input)


def test_damaged_programs_stay_in_their_memory(binary, tmp_path, seed):
    results = run_all(binary, tmp_path, list(damaged(seed)))
    refused = sum(result.output is None for result in results)
    assert 0 < refused < len(results)
