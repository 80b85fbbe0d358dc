"""Programs that are wrong, cut off or damaged are refused in words and never trap."""

from __future__ import annotations

import numpy as np
import pytest
from engine_programs import Layout, module, one_step, run_step
from engine_standard import standard_cases
from kernel_cases import all_cases

from attnc.compiler.errors import AttncError
from attnc.runtimes.web.engine import LoadedProgram
from attnc.targets.web import program as form

ROUNDS = 1500  # of damage
SIZES = (32, 36)  # where a program says how much memory it needs


def add(rows: int = 3) -> tuple[Layout, form.Program]:
    x = np.ones((rows, 4), np.float32)
    return one_step("Add", [x, x], [x], {})


def load(program: bytes, weights: bytes) -> LoadedProgram:
    return LoadedProgram(module("simd"), program, weights)


def refusal(layout: Layout, program: form.Program) -> str:
    with pytest.raises(AttncError) as caught:
        load(form.to_bytes(program), bytes(layout.data)).run()
    return str(caught.value)


def test_a_wrong_magic_or_version_is_refused():
    layout, program = add()
    good = form.to_bytes(program)
    for place in (0, 4):
        damaged = bytearray(good)
        damaged[place] ^= 1
        with pytest.raises(AttncError, match="not a program"):
            load(bytes(damaged), bytes(layout.data))


def test_a_program_that_is_cut_off_is_refused():
    layout, program = add()
    good = form.to_bytes(program)
    for length in range(0, len(good), 4):
        with pytest.raises(AttncError):
            load(good[:length], bytes(layout.data)).run()


@pytest.mark.parametrize("place", SIZES)
def test_more_memory_than_there_is_is_refused(place):
    layout, program = add()
    damaged = bytearray(form.to_bytes(program))
    damaged[place : place + 4] = b"\xff" * 4
    with pytest.raises(AttncError, match="4096 MB"):
        load(bytes(damaged), bytes(layout.data))


def test_an_operator_that_is_not_there_is_named():
    x = np.ones(3, np.float32)
    for name in ("Einstein", "attnc.Nothing"):
        assert name in refusal(*one_step(name, [x], [x], {}))


@pytest.mark.parametrize("name", ["MatMul", "Concat", "Reshape", "Transpose", "Gather", "TopK"])
def test_shapes_that_do_not_fit_are_refused(name):
    x, y = np.ones((3, 4), np.float32), np.ones((5, 7), np.float32)
    second = np.array([0, 1]) if name in ("Gather", "TopK", "Reshape") else x
    inputs = [x] if name == "Transpose" else [x, second]
    assert name in refusal(*one_step(name, inputs, [y], {"axis": 0}))


def test_an_index_that_is_out_of_range_is_refused():
    x, index = np.ones((3, 4), np.float32), np.array([3])
    assert "index" in refusal(*one_step("Gather", [x, index], [x[:1]], {"axis": 0}))


def test_fused_operators_check_attributes_and_weights():
    case = all_cases(np.random.default_rng())["conv-1x1"]
    inputs, like = [case.x, *case.weights], [case.expected.astype(np.float32)]
    wrong = [{**case.attributes, "out_channels": 76}, {**case.attributes, "strides": [0, 1]}]
    wrong.append({k: v for k, v in case.attributes.items() if k != "kernel_shape"})
    for attributes in wrong:
        assert "ConvNhwc" in refusal(*one_step("attnc.ConvNhwc", inputs, like, attributes))
    short = [case.x, case.weights[0].ravel()[:-1], case.weights[1]]
    assert "ConvNhwc" in refusal(*one_step("attnc.ConvNhwc", short, like, case.attributes))


def test_an_absent_input_is_refused_where_it_is_needed():
    x = np.ones(3, np.float32)
    for name in ("Add", "Concat", "Max"):
        assert name in refusal(*one_step(name, [x, None], [x], {"axis": 0}))


def test_integers_at_their_limits_do_not_trap():
    for dtype in ("int64", "int32"):
        least = np.full(2, np.iinfo(dtype).min, dtype)
        (y,) = run_step("simd", "Div", [least, np.array([-1, 0], dtype)], [least], {})
        assert y[0] == least[0]


def test_damaged_programs_never_trap(seed):
    """One word of a program changed: the engine refuses it, or computes something."""
    rng = np.random.default_rng(seed)
    programs = [
        one_step(c.operator, c.inputs, c.expected(), c.attributes_of_the_program())
        for c in _few(seed)
    ]
    refused = 0
    for _ in range(ROUNDS):
        layout, program = programs[rng.integers(len(programs))]
        words = np.frombuffer(bytearray(form.to_bytes(program)), np.uint8).copy()
        place = int(rng.integers(len(words) // 4)) * 4
        if place in SIZES:  # would only cost this machine gigabytes
            continue
        value = rng.choice([0, 1, 2, 3, 7, 64, 2**16, 2**31 - 1, 2**31, 2**32 - 1])
        words[place : place + 4] = np.frombuffer(np.uint32(value).tobytes(), np.uint8)
        try:
            load(words.tobytes(), bytes(layout.data)).run()
        except AttncError:
            refused += 1
    assert ROUNDS / 4 < refused < ROUNDS


def _few(seed: int) -> list:
    """One case of each operator: the second, which has attributes where any has."""
    found = {}
    for name, case in standard_cases(seed).items():
        if case.operator not in found or name.endswith("-1"):
            found[case.operator] = case
    return list(found.values())


def test_weights_that_are_cut_off_are_refused():
    layout, program = add()
    with pytest.raises(AttncError, match="weights have"):
        load(form.to_bytes(program), bytes(layout.data)[:-1])


def test_two_programs_one_after_the_other():
    for rows in (3, 50, 2):
        layout, program = add(rows)
        loaded = load(form.to_bytes(program), bytes(layout.data))
        x = np.random.default_rng().standard_normal((rows, 4)).astype(np.float32)
        loaded.put(program.inputs[0], x)
        loaded.run()
        np.testing.assert_array_equal(loaded.get(program.outputs[0]), x + 1)


def test_stored_float16_is_widened_exactly():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    layout = Layout()
    x = layout.place(np.zeros(2**16, np.float32))
    w = layout.constant(np.zeros(2**16, np.float32))
    stored = (form.Stored(form.FLOAT16, 0, 0, 2**16),)
    step = form.Step("Identity", (w,), (x,), {})
    parts = (tuple(layout.tensors), stored, (step,), (x,), (x,), layout.arena, 2**18, 2**17)
    loaded = load(form.to_bytes(form.Program(*parts)), halves.tobytes())
    loaded.run()
    np.testing.assert_array_equal(loaded.get(x), halves.astype(np.float32))
