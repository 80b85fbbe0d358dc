"""Every CUDA kernel on the processor, in all precisions, against its operator's reference."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from attnc.compiler.errors import MissingRuntimeError
from attnc.compiler.ops import registry
from attnc.compiler.ops.base import NO_MIN, Example, Operator
from attnc.compiler.ops.convolution import RELU, normal
from attnc.runtimes.cuda import host
from attnc.runtimes.cuda.kernels import KERNELS, kernel_of
from attnc.runtimes.cuda.launch import PRECISIONS, CudaKernel, launch_of

#: Largest error, as a share of the largest value.
LIMITS = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 1.6e-2}
SEED = 3
MOST_SHARED = 48 * 1024  # what every GPU grants without being asked


@cache
def examples_of(name: str) -> list[Example]:
    return registry.get(name).examples(np.random.default_rng(SEED))


CASES = [
    pytest.param(kernel, index, id=f"{kernel.operator}-{example.label}")
    for kernel in KERNELS
    for index, example in enumerate(examples_of(kernel.operator))
]


def example_of(kernel: CudaKernel, index: int) -> tuple[Operator, Example]:
    return registry.get(kernel.operator), examples_of(kernel.operator)[index]


def settled(operator: Operator, example: Example, precision: str) -> np.ndarray | slice:
    """What is compared: rounded inputs may make choices near-ties, which any rounding turns."""
    if operator.discontinuous is None or precision == "fp32":
        return np.s_[...]
    return operator.discontinuous.settled(example.inputs, example.attributes)


def assert_right(
    kernel: CudaKernel,
    operator: Operator,
    example: Example,
    precision: str,
    library: Path | None = None,
) -> None:
    inputs = tuple(host.rounded(array, precision) for array in example.inputs)
    example = Example(example.label, inputs, example.attributes)
    found = host.run_on_host(kernel, precision, inputs, example.attributes, library)
    wanted = operator.results(example)
    clear = settled(operator, example, precision)
    for i, (got, want) in enumerate(zip(found, wanted, strict=True)):
        assert got.shape == want.shape
        if i in kernel.integer_outputs:
            np.testing.assert_array_equal(got, want)
            continue
        assert np.isfinite(got).all(), "not all of the output was written"
        error = np.abs(got - want)[clear].max(initial=0) / max(float(np.abs(want).max()), 1e-6)
        assert error <= LIMITS[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("kernel", "index"), CASES)
def test_kernel_computes_the_reference(kernel: CudaKernel, index: int, precision: str) -> None:
    assert_right(kernel, *example_of(kernel, index), precision)


def large_example(name: str) -> Example:
    """More tokens, channels, slots and places than any block has threads for, none of them even."""
    rng = np.random.default_rng(SEED)
    window = {"kernel_shape": (7, 5), "dilations": (2, 1), "shift": 3, "scale": 0.1}
    grid = {"grid": (5, 4)} if "Pooled" in name else {}
    residual = [] if name.endswith("Bare") else [normal(rng, 1, 23, 29, 131)]
    heads = {"heads": 3, "dim": 66}
    limits = {"coef_threshold": NO_MIN, "score_threshold": NO_MIN, "scale": 0.12}
    rows = {**heads, **limits, "coef_topk": 9, "keep": 100, "coef_scale": 0.1}
    active = [(rng.random((1, 301)) > 0.3).astype(np.float32)] if "Active" in name else []
    given = {
        "MapAttention": (
            (normal(rng, 1, 17, 19, 33 * 2 + 135), normal(rng, 1, 17, 19, 270)),
            {"dim_qk": 33, "dim_v": 135, "scale": 0.2, **RELU},
        ),
        "SlotCluster": ((normal(rng, 1, 1111, 261), normal(rng, 1, 37, 261)), {"scale": 7.0}),
        "PooledSlotCluster": (
            (normal(rng, 1, 29 * 37, 261), normal(rng, 1, 29, 37, 261)),
            {"grid": (7, 5), "scale": 7.0},
        ),
        "MapSlotDispatchAdd": (
            (normal(rng, 1, 333, 150), normal(rng, 1, 150, 261), normal(rng, 1, 9, 37, 261)),
            {},
        ),
        "SlotDispatch": ((normal(rng, 1, 333, 150), normal(rng, 1, 150, 261)), {}),
        "SlotDispatchAdd": (
            (normal(rng, 1, 333, 150), normal(rng, 1, 150, 261), normal(rng, 1, 333, 261)),
            {},
        ),
        "SelectTokens": (
            (
                normal(rng, 1, 301, 390),
                normal(rng, 1, 3, 100),
                normal(rng, 1, 301, 210),
                normal(rng, 390),
            ),
            {"heads": 3, "dim_qk": 33, "q_at": 1, "k_at": 100, "scale": 0.2, "keep": 77, "fuse": 1},
        ),
        "SparseSummary": (
            (
                normal(rng, 1, 301, 3 * 3 * 66),
                normal(rng, 70, 66),
                normal(rng, 70),
                normal(rng, 301, 45),
                *active,
            ),
            heads,
        ),
        "SparseRows": (
            (
                normal(rng, 1, 301, 3 * 3 * 66),
                normal(rng, 1, 3, 33, 45),
                normal(rng, 33, 66, scale=0.1),
                normal(rng, 33),
                np.abs(normal(rng, 45, 301)),
                *active,
            ),
            {**rows, "prune_rows": 1} if active else rows,
        ),
    }
    if name.startswith("Window"):
        return Example("large", (normal(rng, 1, 23, 29, 393), *residual), {**window, **grid})
    inputs, attributes = given[name.removesuffix("Active")]
    return Example("large", inputs, attributes)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.operator)
def test_sizes_beyond_one_block(kernel: CudaKernel) -> None:
    example, operator = large_example(kernel.operator), registry.get(kernel.operator)
    launch = launch_of(kernel, [a.shape for a in example.inputs], example.attributes)
    assert np.prod(launch.grid) > 1
    assert launch.shared_bytes <= MOST_SHARED
    found = host.run_on_host(kernel, "fp32", example.inputs, example.attributes)
    clear: np.ndarray | slice = np.s_[...]
    if operator.discontinuous:  # drawn at random, so there are near-ties
        clear = operator.discontinuous.settled(example.inputs, example.attributes)
        assert clear.mean() > 0.5
    for i, (got, want) in enumerate(zip(found, operator.results(example), strict=True)):
        if i in kernel.integer_outputs:
            np.testing.assert_array_equal(got, want)
            continue
        assert np.abs(got - want)[clear].max() <= 1e-5 * np.abs(want).max()


def test_the_halves_of_sparse_attention_are_the_whole() -> None:
    rng = np.random.default_rng(SEED)
    for suffix in ("", "Active"):
        whole = registry.get(f"SparseAttention{suffix}")
        for example in whole.examples(rng):
            qkv, wq, bq, wk, bk, proj_n, basis, *active = example.inputs
            sizes = {name: example.attributes[name] for name in ("heads", "dim")}
            first = registry.get(f"SparseSummary{suffix}")
            low = first.reference(qkv, wk, bk, proj_n, *active, **sizes)
            second = registry.get(f"SparseRows{suffix}")
            found = second.reference(qkv, low, wq, bq, basis, *active, **example.attributes)
            np.testing.assert_array_equal(found, whole.results(example)[0])


def test_scores_of_minus_infinity_hide_a_slot() -> None:
    rng, kernel = np.random.default_rng(SEED), kernel_of("SlotDispatch")
    assert kernel is not None
    logits, slots = normal(rng, 1, 20, 70), normal(rng, 1, 70, 40)
    logits[:, :, :40] = -np.inf
    (found,) = host.run_on_host(kernel, "fp32", (logits, slots), {})
    want = registry.get("SlotDispatch").reference(logits, slots)
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_bfloat16_rounds_to_the_nearest_even() -> None:
    x = np.array([1.00390625, 1.01171875, 1.005, -3.0, np.nan, np.inf], np.float32)
    want = np.array([1.0, 1.015625, 1.0078125, -3.0, np.nan, np.inf], np.float32)
    np.testing.assert_array_equal(host.rounded(x, "bf16"), want)


def test_without_a_compiler_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingRuntimeError, match="GCC 12"):
        host.compiler_path()


@pytest.mark.slow
def test_no_kernel_leaves_its_memory() -> None:
    """All cases in a process with AddressSanitizer and UBSan."""
    library = host.build(sanitize=True)
    runtime = subprocess.run(
        ["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    environment = {
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, str(Path(__file__).with_name("kernel_sanitize.py")), str(library)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
