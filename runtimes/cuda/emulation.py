"""How far the kernels are from their operators' references, emulated on the processor or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.ops import registry
from attnc.compiler.ops.base import Example, Operator
from attnc.runtimes.cuda.host import rounded, run_on_host
from attnc.runtimes.cuda.kernels import kernel_of
from attnc.runtimes.cuda.launch import CudaKernel

#: Kernel, precision, inputs and attributes to the outputs of one launch.
Run = Callable[[CudaKernel, str, Sequence[Any], Mapping[str, Any]], list[Any]]
#: Largest error of an output, as a share of its largest value.
LIMITS = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 1.6e-2}
SEED = 17


def worst_error(operator: str, precision: str, run: Run = run_on_host) -> tuple[float, float]:
    """The largest error over the operator's hard inputs, and what it may be.

    `run` launches a kernel, on the processor or on a GPU. An index that differs counts as
    infinitely wrong. Raises UnsupportedError for an operator without a kernel, MissingRuntimeError
    without a C++ compiler.
    """
    kernel, found = kernel_of(operator), registry.get(operator)
    if kernel is None:
        raise UnsupportedError(f"{operator} has no CUDA kernel")
    examples = found.examples(np.random.default_rng(SEED))
    worst = max(_error(kernel, found, example, precision, run) for example in examples)
    return worst, LIMITS[precision]


def _error(
    kernel: CudaKernel, operator: Operator, example: Example, precision: str, run: Run
) -> float:
    inputs = tuple(rounded(array, precision) for array in example.inputs)
    held = Example(example.label, inputs, example.attributes)
    outputs = run(kernel, precision, inputs, held.attributes)
    clear = _settled(operator, held, precision)
    worst = 0.0
    for i, (got, want) in enumerate(zip(outputs, operator.results(held), strict=True)):
        if i in kernel.integer_outputs:
            worst = max(worst, 0.0 if np.array_equal(got, want) else np.inf)
            continue
        if not np.isfinite(got).all():  # poison: not all of the output was written
            return np.inf
        scale = max(float(np.abs(want).max(initial=0)), 1e-6)
        worst = max(worst, float(np.abs(got - want)[clear].max(initial=0)) / scale)
    return worst


def _settled(operator: Operator, example: Example, precision: str) -> Any:
    """Rounded inputs may make choices near-ties, which any further rounding turns."""
    if operator.discontinuous is None or precision == "fp32":
        return np.s_[...]
    return operator.discontinuous.settled(example.inputs, example.attributes)
