"""Run the kernels on the GPU, on their operators' hard inputs, against the float64 references.

    python -m attnc.runtimes.cuda.gpu_check [--operators A,B] [--precision fp32,fp16,bf16]

The yardstick is that of the emulation on the processor. It is a command because a kernel that
crashes ends the CUDA context of its process; NVIDIA's compute-sanitizer takes it as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.errors import AttncError, MissingRuntimeError, UnsupportedError, UsageError
from attnc.runtimes.cuda import emulation
from attnc.runtimes.cuda.build import compile_cubins, compile_ptx
from attnc.runtimes.cuda.driver import CudaError, Driver, Handle, open_driver
from attnc.runtimes.cuda.emulation import LIMITS
from attnc.runtimes.cuda.host import GUARD, given, guards, poisoned, taken
from attnc.runtimes.cuda.kernels import KERNELS, kernel_of
from attnc.runtimes.cuda.launch import PRECISIONS, CudaKernel, launch_of

Array = NDArray[Any]


@dataclass(frozen=True)
class Finding:
    """A kernel's largest error and what it may be; `problem` says why there is none."""

    operator: str
    precision: str
    value: float | None
    limit: float
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether the kernel is right."""
        return self.value is not None and self.value <= self.limit


def code_of(kernel: CudaKernel, sm: str, folder: Path | None = None) -> bytes:
    """The kernel's code for a GPU ("89"): of a folder with compiled kernels, or from nvcc.

    A cubin of that GPU is taken first, else PTX. Raises UsageError if the folder has neither,
    MissingRuntimeError without nvcc.
    """
    stem = Path(kernel.source).stem
    if folder is not None:
        for name in (f"{stem}.sm_{sm}.cubin", f"{stem}.ptx"):
            if (folder / name).is_file():
                return (folder / name).read_bytes()
        raise UsageError(f"there is neither {stem}.sm_{sm}.cubin nor {stem}.ptx", where=str(folder))
    with TemporaryDirectory(prefix="attnc-cubin-") as made:
        try:
            (path,) = compile_cubins(Path(made), [kernel.operator], [f"sm_{sm}"])
        except MissingRuntimeError:  # a GPU that this nvcc does not know
            (path,) = compile_ptx(Path(made), [kernel.operator])
        return path.read_bytes()


def worst_error(driver: Driver, code: bytes, operator: str, precision: str) -> tuple[float, float]:
    """The largest error over the operator's hard inputs, and what it may be.

    Raises UnsupportedError for an operator without a kernel, CudaError if the GPU refuses it or it
    crashes.
    """
    kernel = kernel_of(operator)
    if kernel is None:
        raise UnsupportedError(f"{operator} has no CUDA kernel")
    with driver.module(code) as module:
        function = driver.function(module, f"{kernel.entry}_{precision}")
        return emulation.worst_error(operator, precision, partial(run_on_gpu, driver, function))


def run_on_gpu(
    driver: Driver,
    function: Handle,
    kernel: CudaKernel,
    precision: str,
    inputs: Sequence[Array],
    attributes: Mapping[str, Any],
) -> list[Array]:
    """The outputs of one launch, as `host.run_on_host` gives them.

    Outputs begin poisoned, between guards. Raises CudaError if the kernel crashes or writes where
    it must not.
    """
    launch = launch_of(kernel, [array.shape for array in inputs], attributes)
    fed = [given(kernel, i, array, precision) for i, array in enumerate(inputs)]
    made = [poisoned(kernel, i, shape, precision) for i, shape in enumerate(launch.outputs)]
    fresh = [array.copy() for array in made]
    with ExitStack() as stack:
        pointers = stack.enter_context(driver.memory(*(a.nbytes for a in (*fed, *made))))
        stream = stack.enter_context(driver.stream())
        for pointer, array in zip(pointers, (*fed, *made), strict=True):
            driver.upload(pointer, array)
        starts = [p + GUARD * a.itemsize for p, a in zip(pointers[len(fed) :], made, strict=True)]
        driver.launch(function, launch, pointers[: len(fed)], starts, stream)
        driver.wait(stream)
        after = [np.empty_like(array) for array in fed]
        for pointer, array in zip(pointers, (*after, *made), strict=True):
            driver.download(array, pointer)
    if any(a.tobytes() != b.tobytes() for a, b in zip(fed, after, strict=True)):
        raise CudaError(f"{kernel.entry} wrote to an input")
    for i, (array, poison) in enumerate(zip(made, fresh, strict=True)):
        if any(array[cut].tobytes() != poison[cut].tobytes() for cut in guards()):
            raise CudaError(f"{kernel.entry} wrote outside of its output {i}")
    return [
        taken(kernel, i, array[GUARD : array.size - GUARD], shape, precision)
        for i, (array, shape) in enumerate(zip(made, launch.outputs, strict=True))
    ]


def check_kernels(
    driver: Driver, operators: Sequence[str], precisions: Sequence[str], folder: Path | None = None
) -> Iterator[Finding]:
    """One finding for each operator and precision; what fails is said, not raised."""
    for operator in operators:
        kernel = kernel_of(operator)
        if kernel is None:
            raise UsageError(
                f"{operator} has no CUDA kernel",
                remedy=f"one of {', '.join(kernel.operator for kernel in KERNELS)}",
            )
        code = code_of(kernel, driver.sm, folder)
        for precision in precisions:
            try:
                value, limit = worst_error(driver, code, operator, precision)
            except CudaError as error:
                yield Finding(operator, precision, None, LIMITS[precision], error.message)
                continue
            yield Finding(operator, precision, value, limit)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 all right, 1 a kernel is wrong, 4 no GPU, no driver or no nvcc."""
    parser = argparse.ArgumentParser(prog="attnc.runtimes.cuda.gpu_check", description=__doc__)
    names = [kernel.operator for kernel in KERNELS]
    parser.add_argument("--operators", default=",".join(names), help="all without it")
    parser.add_argument("--precision", default=",".join(PRECISIONS))
    parser.add_argument("--kernels", type=Path, help="a folder with cubins and PTX; nvcc without")
    parser.add_argument("--json", action="store_true", help="the findings as JSON on stdout")
    parser.add_argument("--fake", default="", help=argparse.SUPPRESS)  # a driver for tests
    a = parser.parse_args(arguments)
    precisions = a.precision.split(",")
    for wrong in set(precisions) - set(PRECISIONS):
        parser.error(f"{wrong} is none of {', '.join(PRECISIONS)}")
    try:
        findings = _shown(a, precisions)
    except AttncError as error:
        print(f"error: {error.render()}", file=sys.stderr)
        return int(error.exit_code)
    return 0 if all(finding.ok for finding in findings) else 1


def _shown(a: argparse.Namespace, precisions: Sequence[str]) -> list[Finding]:
    findings = []
    with open_driver(a.fake) as driver:
        about = f"{driver.name}, sm_{driver.sm}, CUDA {driver.version}"
        print(about, file=sys.stderr)
        for finding in check_kernels(driver, a.operators.split(","), precisions, a.kernels):
            findings.append(finding)
            print(_line(finding), file=sys.stderr if a.json else sys.stdout, flush=True)
    if a.json:
        entries = [asdict(one) | {"value": _number(one.value)} for one in findings]
        print(json.dumps({"device": about, "findings": entries}))
    return findings


def _line(finding: Finding) -> str:
    mark = "ok    " if finding.ok else "FAILED"
    name = f"{finding.operator} {finding.precision}"
    if finding.value is None:
        return f"{mark} {name:34} {finding.problem}"
    return f"{mark} {name:34} error {finding.value:.2e} of at most {finding.limit:.1e}"


def _number(value: float | None) -> float | str | None:
    """JSON has no infinity."""
    return "infinite" if value is not None and not np.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
