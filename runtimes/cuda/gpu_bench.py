"""Time the kernels on the GPU against its roofline: what moving and computing would take at least.

Warm: a CUDA graph of many launches, so that the host's part does not count and operands lie in the
caches. Cold: one launch at a time, after the caches were overwritten.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.ops import registry
from attnc.compiler.ops.base import size
from attnc.runtimes.cuda.driver import CLOCK_KHZ, L2_BYTES, MULTIPROCESSORS, Driver, Handle
from attnc.runtimes.cuda.host import encoded
from attnc.runtimes.cuda.launch import CudaKernel, launch_of

Array = NDArray[Any]
#: Multiply-adds per clock of a multiprocessor, by compute capability, of NVIDIA's data sheets:
#: without tensor cores for float32, with them (dense) for float16 and bfloat16.
FLOAT32 = {"75": 64, "80": 64} | dict.fromkeys(
    ("86", "87", "89", "90", "100", "103", "110", "120", "121"), 128
)
HALF = dict.fromkeys(("75", "86", "89", "120", "121"), 512) | {
    "80": 1024,
    "87": 1024,
    "90": 2048,
    "100": 4096,
    "103": 4096,
    "110": 4096,
}
COPY_BYTES = 256 << 20
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
LAUNCHES, ROUNDS, WARM_UP = 20, 30, 3


@dataclass(frozen=True)
class Case:
    """An operator at the shapes of a model's node; `nodes`: how many of them the model has."""

    operator: str
    shapes: tuple[tuple[int, ...], ...]
    attributes: Mapping[str, Any]
    model: str = ""
    batch: int = 1
    nodes: int = 1

    @property
    def label(self) -> str:
        """The shapes of the inputs."""
        return " ".join("x".join(map(str, shape)) for shape in self.shapes)

    def inputs(self) -> list[Array]:
        """Random operands in float32; of masks every entry is on."""
        rng, names = np.random.default_rng(0), registry.get(self.operator).inputs
        drawn = [rng.standard_normal(shape, np.float32) for shape in self.shapes]
        on = (np.ones_like(a) if n == "active" else a for n, a in zip(names, drawn, strict=False))
        return list(on)


@dataclass(frozen=True)
class Limits:
    """What the GPU can do: bytes per second as a copy on it measures, flops per second on paper.

    `flops` is None for a GPU that the tables do not know.
    """

    bandwidth: float
    flops: float | None

    def least_us(self, moved: int, flops: int) -> float:
        """The roofline: microseconds that moving or computing takes at least."""
        computing = flops / self.flops if self.flops else 0.0
        return 1e6 * max(moved / self.bandwidth, computing)


@dataclass(frozen=True)
class Timing:
    """Samples in microseconds per launch."""

    warm: list[float]
    cold: list[float]

    @property
    def warm_us(self) -> float:
        """The median."""
        return statistics.median(self.warm)

    @property
    def cold_us(self) -> float:
        """The median."""
        return statistics.median(self.cold)


def limits_of(driver: Driver, precision: str) -> Limits:
    """Measure the bandwidth and look up the peak."""
    table = FLOAT32 if precision == "fp32" else HALF
    rate = table.get(driver.sm)
    clock = 1e3 * driver.attribute(CLOCK_KHZ)
    flops = 2.0 * rate * driver.attribute(MULTIPROCESSORS) * clock if rate else None
    return Limits(bandwidth(driver), flops)


def bandwidth(driver: Driver) -> float:
    """Bytes per second of a copy on the device, reads and writes counted."""
    count = min(COPY_BYTES, driver.free_bytes() // 4)
    samples: list[float] = []
    with driver.memory(count, count) as (origin, to), driver.stream() as stream:
        driver.fill(origin, 0, count, stream)
        for _ in range(ROUNDS):
            with driver.timed(stream, samples):
                driver.copy(to, origin, count, stream)
    return 2e3 * count / statistics.median(samples[WARM_UP:])


def moved_bytes(kernel: CudaKernel, case: Case, precision: str) -> int:
    """Every operand and every result once, or what the operator needs of them if that is less."""
    launch = launch_of(kernel, case.shapes, case.attributes)
    groups = (case.shapes, kernel.integer_inputs), (launch.outputs, kernel.integer_outputs)
    whole = sum(
        size(shape) * (8 if i in integers else BYTES[precision])
        for shapes, integers in groups
        for i, shape in enumerate(shapes)
    )
    needed = registry.get(case.operator).cost(case.shapes, case.attributes).bytes
    return min(whole, needed * BYTES[precision] // BYTES["fp32"])


def flops_of(case: Case) -> int:
    """Arithmetic of one launch."""
    return registry.get(case.operator).cost(case.shapes, case.attributes).flops


def time_kernel(
    driver: Driver, code: bytes, kernel: CudaKernel, case: Case, precision: str
) -> Timing:
    """Time one kernel at one shape. Raises CudaError if the GPU refuses it or it crashes."""
    launch = launch_of(kernel, case.shapes, case.attributes)
    given = [
        np.ascontiguousarray(array, np.int64)
        if i in kernel.integer_inputs
        else encoded(array, precision)
        for i, array in enumerate(case.inputs())
    ]
    made = [
        size(shape) * (8 if i in kernel.integer_outputs else BYTES[precision])
        for i, shape in enumerate(launch.outputs)
    ]
    flush = 2 * driver.attribute(L2_BYTES)
    with ExitStack() as stack:
        module = stack.enter_context(driver.module(code))
        function = driver.function(module, f"{kernel.entry}_{precision}")
        stream = stack.enter_context(driver.stream())
        sizes = (*(array.nbytes for array in given), *made, flush)
        *pointers, scratch = stack.enter_context(driver.memory(*sizes))
        inputs, outputs = pointers[: len(given)], pointers[len(given) :]
        for pointer, array in zip(inputs, given, strict=True):
            driver.upload(pointer, array)

        def queue() -> None:
            driver.launch(function, launch, inputs, outputs, stream)

        for _ in range(WARM_UP):
            queue()
        driver.wait(stream)
        warm = _warm(driver, stream, queue)
        cold: list[float] = []
        for _ in range(ROUNDS):
            driver.fill(scratch, 1, flush, stream)  # the host queues the launch meanwhile
            with driver.timed(stream, cold):
                queue()
    return Timing(warm, [1e3 * sample for sample in cold])


def _warm(driver: Driver, stream: Handle, queue: Any) -> list[float]:
    """Microseconds per launch in a graph of many."""

    def many() -> None:
        for _ in range(LAUNCHES):
            queue()

    graph, samples = driver.capture(stream, many), list[float]()
    try:
        for _ in range(WARM_UP):
            driver.replay(graph, stream)
        driver.wait(stream)
        for _ in range(ROUNDS):
            with driver.timed(stream, samples):
                driver.replay(graph, stream)
    finally:
        driver.drop(graph)
    return [1e3 * sample / LAUNCHES for sample in samples]


def summary(
    timing: Timing, case: Case, kernel: CudaKernel, precision: str, limits: Limits
) -> dict[str, Any]:
    """The entry of the report."""
    moved, flops = moved_bytes(kernel, case, precision), flops_of(case)
    least = limits.least_us(moved, flops)
    return {
        "model": case.model,
        "batch": case.batch,
        "kernel": f"{kernel.entry}_{precision}",
        "shapes": case.label,
        "nodes": case.nodes,
        "bytes": moved,
        "flops": flops,
        "warm_us": round(timing.warm_us, 3),
        "cold_us": round(timing.cold_us, 3),
        "roofline_us": round(least, 3),
        "share_of_roofline": round(least / timing.cold_us, 4) if timing.cold_us else None,
        "samples_warm_us": _rounded(timing.warm),
        "samples_cold_us": _rounded(timing.cold),
    }


def _rounded(samples: Sequence[float]) -> list[float]:
    return [round(sample, 3) for sample in samples]
