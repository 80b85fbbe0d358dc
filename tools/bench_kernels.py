"""`make bench-kernels`: the kernels at the shapes of the models against this core's peak.

One thread, no runtime around the kernel. Warm: operands where the last call left them. Cold:
the caches are flushed first, as the 25-66 MB of a model's weights do to each layer at batch 1.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from attnc.runtimes.cpu.build import build
from attnc.runtimes.cpu.library import cpu_features, host_target
from attnc.tools import bench_heads, bench_slots, bench_sparse, bench_tokens, bench_windows

# image size, widths, partial widths (the published architectures, model_defs/shvit.py)
MODELS = {
    "s1": (224, (128, 224, 320), (32, 48, 68)),
    "s2": (224, (128, 308, 448), (32, 66, 96)),
    "s3": (224, (192, 352, 448), (48, 75, 96)),
    "s4": (256, (224, 336, 448), (48, 72, 96)),
}
#: Files with the shapes of other families.
TABLES = (bench_heads, bench_slots, bench_sparse, bench_tokens, bench_windows)
WINDOW = (3, 3)
PADS = (1, 1, 1, 1)
FLUSH = 64 << 20
INFINITY = float("inf")
#: Operands that random numbers would not do for, by kernel and place: row numbers, what is active.
FILLS = {("mha", 2): 0.0, ("sparse_attention", 7): 1.0}


@dataclass(frozen=True)
class Shape:
    """One invocation: floats of each pointer argument, integers, reals, multiply-adds."""

    kernel: str
    label: str
    pointers: tuple[int, ...]
    integers: tuple[int, ...]
    reals: tuple[float, ...]
    macs: int

    @property
    def bytes(self) -> int:
        """Least traffic: every operand once."""
        return 4 * sum(self.pointers)


@dataclass
class Reading:
    """One measured kernel."""

    isa: str
    model: str
    kernel: str
    shape: str
    warm_us: float
    cold_us: float
    gflops: float
    share_of_peak: float
    gbytes_cold: float


def up(n: int) -> int:
    """n rounded up to whole panels."""
    return (n + 15) // 16 * 16


def half(n: int) -> int:
    """Output size of a 3x3 stride 2 pad 1 window."""
    return (n - 1) // 2 + 1


def conv(kernel: str, batch: int, size: int, c: int, n: int, relu: bool) -> Shape:
    """A 3x3 stride 2 convolution; conv_stride2 does 25 products of each 36."""
    out, short = half(size), kernel == "conv_stride2"
    depth = (16 if short else 9) * c
    macs = 25 * half(out) ** 2 * c * n if short else 9 * out * out * c * n
    pointers = (batch * size * size * c, depth * up(n), up(n), 0, batch * out * out * n)
    integers = (batch, size, size, c, out, out, n, *WINDOW, 2, 2, 1, 1, *PADS, 0)
    reals = (0.0 if relu else -INFINITY, INFINITY)
    label = f"{size}x{size} {c}->{n}"
    return Shape(kernel, label, pointers, integers, reals, batch * macs)


def depthwise(batch: int, size: int, c: int) -> Shape:
    """3x3 stride 1."""
    x = batch * size * size * c
    integers = (batch, size, size, c, size, size, *WINDOW, 1, 1, 1, 1, *PADS, 0)
    label = f"{size}x{size} {c}"
    return Shape(
        "depthwise", label, (x, 9 * up(c), up(c), x), integers, (-INFINITY, INFINITY), 9 * x
    )


def feed_forward(batch: int, size: int, c: int) -> Shape:
    """Ratio 2."""
    rows, hidden = batch * size * size, 2 * c
    pointers = (rows * c, c * up(hidden), up(hidden), hidden * up(c), up(c), rows * c)
    label = f"{size}x{size} {c}-{hidden}"
    return Shape(
        "feed_forward", label, pointers, (rows, c, hidden), (0.0, INFINITY), 2 * rows * c * hidden
    )


def attention(batch: int, size: int, c: int, v: int, qk: int = 16) -> Shape:
    """Single head on v of c channels."""
    tokens, width = size * size, 2 * qk + v
    x = batch * tokens * c
    pointers = (x, v * up(width), up(width), c * up(c), up(c), x)
    macs = batch * tokens * (v * width + c * c + tokens * (qk + v))
    label = f"{size}x{size} {c} of which {v}"
    return Shape(
        "attention", label, pointers, (batch, tokens, c, qk, v), (1e-5, 0.0, INFINITY), macs
    )


def bottleneck(batch: int, size: int, c: int, n: int) -> Shape:
    """Patch merging c -> n."""
    hidden, reduced, out = 4 * c, (c + 4) // 8 * 8, half(size)
    weights = (c * up(hidden), up(hidden), 9 * up(hidden), up(hidden), hidden * up(reduced))
    weights += (up(reduced), reduced * up(hidden), up(hidden), hidden * up(n), up(n))
    pointers = (batch * size * size * c, *weights, batch * out * out * n)
    integers = (batch, size, size, c, hidden, reduced, out, out, n, *WINDOW, 2, 2, 1, 1, *PADS)
    macs = size * size * c * hidden + out * out * hidden * (9 + n) + 2 * hidden * reduced
    label = f"{size}x{size} {c}-{hidden}->{n}"
    return Shape("bottleneck", label, pointers, integers, (0.0, INFINITY), batch * macs)


def shapes_of(model: str, batch: int) -> Iterator[Shape]:
    """The distinct invocations of one model, in order."""
    for tables in TABLES:
        if model in tables.MODELS:
            yield from (Shape(*call) for call in tables.shapes_of(model, batch))
            return
    size, widths, partial = MODELS[model]
    stem = (3, widths[0] // 8, widths[0] // 4, widths[0] // 2, widths[0])
    for i in range(4):
        for kernel in ("conv", "conv_stride2") if i else ("stem_conv",):
            yield conv(kernel, batch, size, stem[i], stem[i + 1], i < 3)
        size = half(size)
    for i, c in enumerate(widths):
        yield depthwise(batch, size, c)
        if i:
            yield attention(batch, size, c, partial[i])
        yield feed_forward(batch, size, c)
        if i < 2:
            yield bottleneck(batch, size, c, widths[i + 1])
            size = half(size)
    c, n = widths[-1], 1000
    pointers = (batch * size * size * c, c * up(n), up(n), batch * n)
    yield Shape(
        "pool_linear",
        f"{size}x{size} {c}->{n}",
        pointers,
        (batch, size * size, c, n),
        (),
        batch * c * n,
    )


class Bench:
    """The benchmark build of the library, and memory for its operands."""

    def __init__(self) -> None:
        lib = ctypes.CDLL(str(build(host_target(), bench=True)))
        lib.attnc_time.restype = lib.attnc_peak.restype = ctypes.c_double
        lib.attnc_time.argtypes = [
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_ssize_t,
        ]
        lib.attnc_peak.argtypes = [ctypes.c_char_p, ctypes.c_ssize_t, ctypes.c_void_p]
        lib.attnc_kernel_name.restype = ctypes.c_char_p
        self.lib = lib
        self.flush = np.ones(FLUSH, np.uint8)

    def peak(self, isa: str) -> float:
        """GFLOP/s of multiply-adds that touch no memory; the best of many short runs."""
        import time

        sink, best = ctypes.c_float(1.0), 0.0
        for _ in range(100):
            begin = time.perf_counter()
            flops = self.lib.attnc_peak(isa.encode(), 100_000, ctypes.byref(sink))
            best = max(best, flops / (time.perf_counter() - begin))
        return best / 1e9

    def index_of(self, kernel: str) -> int:
        """The kernel's place in the library's list; KeyError if it is not there."""
        index = 0
        while (name := self.lib.attnc_kernel_name(index)) is not None:
            if name.decode() == kernel:
                return index
            index += 1
        raise KeyError(kernel)

    def measure(self, isa: str, shape: Shape, repeats: int) -> tuple[float, float]:
        """Seconds, warm and cold."""
        rng = np.random.default_rng(0)
        kept, fields = [], []
        for place, floats in enumerate(shape.pointers):
            raw = rng.standard_normal(floats + 16, np.float32)
            if (shape.kernel, place) in FILLS:
                raw[:] = FILLS[shape.kernel, place]
            kept.append(raw)
            fields.append(raw.ctypes.data + -raw.ctypes.data % 64 if floats else 0)
        names = [(f"p{i}", ctypes.c_void_p) for i in range(len(fields))]
        names += [(f"n{i}", ctypes.c_ssize_t) for i in range(len(shape.integers))]
        names += [(f"f{i}", ctypes.c_float) for i in range(len(shape.reals))]
        struct = type("Arguments", (ctypes.Structure,), {"_fields_": names})
        arguments = ctypes.byref(struct(*fields, *shape.integers, *shape.reals))
        index = self.index_of(f"{shape.kernel}_f32")
        flush = self.flush.ctypes.data
        warm = self.lib.attnc_time(isa.encode(), index, arguments, repeats, flush, 0)
        cold = self.lib.attnc_time(
            isa.encode(), index, arguments, max(5, repeats // 20), flush, FLUSH
        )
        return warm, cold


def read(bench: Bench, isa: str, peak: float, model: str, shape: Shape) -> Reading:
    """Measure one shape for about a tenth of a second."""
    repeats = int(min(2000, max(20, 0.1 * peak * 1e9 / (2 * shape.macs))))
    warm, cold = bench.measure(isa, shape, repeats)
    gflops = 2e-9 * shape.macs / warm
    return Reading(
        isa,
        model,
        f"{shape.kernel}_f32",
        shape.label,
        warm * 1e6,
        cold * 1e6,
        gflops,
        gflops / peak,
        1e-9 * shape.bytes / cold,
    )


def show(readings: list[Reading], peaks: dict[str, float], stream: Console) -> None:
    """One table for each instruction set."""
    for isa, peak in peaks.items():
        table = Table(title=f"{isa}: peak {peak:.0f} GFLOP/s on one core")
        for name in (
            "model",
            "kernel",
            "shape",
            "warm us",
            "GFLOP/s",
            "of peak",
            "cold us",
            "GB/s cold",
        ):
            table.add_column(
                name, justify="left" if name in ("model", "kernel", "shape") else "right"
            )
        for r in readings:
            if r.isa == isa:
                table.add_row(
                    r.model,
                    r.kernel,
                    r.shape,
                    f"{r.warm_us:.1f}",
                    f"{r.gflops:.0f}",
                    f"{r.share_of_peak:.0%}",
                    f"{r.cold_us:.1f}",
                    f"{r.gbytes_cold:.0f}",
                )
        stream.print(table)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="attnc.tools.bench_kernels", description=__doc__)
    models = [*MODELS, *(name for tables in TABLES for name in tables.MODELS)]
    parser.add_argument("--models", default=",".join(models), help="of " + ", ".join(models))
    parser.add_argument("--isa", help="default: every one that this processor has")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--json", help="file, or - for standard output")
    a = parser.parse_args(arguments)
    isas = a.isa.split(",") if a.isa else cpu_features()
    for wrong in set(isas) - set(cpu_features()) | set(a.models.split(",")) - set(models):
        parser.error(f"{wrong} is unknown or not available here")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    bench = Bench()
    peaks = {isa: bench.peak(isa) for isa in isas}
    readings = [
        read(bench, isa, peaks[isa], model, shape)
        for isa in isas
        for model in a.models.split(",")
        for shape in shapes_of(model, a.batch)
    ]
    show(readings, peaks, Console(stderr=a.json == "-", width=120))
    if a.json:
        text = json.dumps(
            {"peak_gflops": peaks, "kernels": [asdict(r) for r in readings]}, indent=1
        )
        if a.json == "-":
            print(text)
        else:
            with open(a.json, "w", encoding="utf-8") as file:
                file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
