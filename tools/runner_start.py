"""Start to first result, our runner against Python's ONNX Runtime: whole processes, in turn.

`python -m attnc.tools.runner_start BUNDLE`. Prints medians and ratios of wall time, user time
and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from attnc.compiler.bundle import Bundle
from attnc.compiler.seeded_input import seeded_input
from attnc.runtimes.attnc_runner import host_library
from attnc.runtimes.cpu.library import host_target
from attnc.runtimes.device.run import runner_path

#: What a program in Python does at least to get the same result.
PYTHON = """
import sys
import numpy as np
import onnxruntime as ort
model, kernels, name, file, shape, threads = sys.argv[1:]
options = ort.SessionOptions()
options.intra_op_num_threads = int(threads)
if kernels:
    options.register_custom_ops_library(kernels)
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
x = np.fromfile(file, np.float32).reshape([int(size) for size in shape.split("x")])
session.run(None, {name: x})
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds of wall and of user time, peak memory in MB."""

    wall: float
    user: float
    peak: float


def cost(command: list[str], report: Path | None = None) -> Cost:
    """Run it to its end; its peak is in its report or on its stdout. RuntimeError if it fails.

    The peak of `wait4` would be no less than that of this process, from which it was forked.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    kilobytes = json.loads(report.read_text("utf-8"))["peak_rss_kb"] if report else int(said)
    return Cost(wall, usage.ru_utime, kilobytes / 1024)


def commands(bundle: Bundle, folder: Path, threads: int) -> tuple[list[str], list[str]]:
    """Ours and Python's, on the same input."""
    import onnxruntime

    (spec, *_), kernels = bundle.manifest.inputs, host_library(bundle)
    shape = [size if isinstance(size, int) else 1 for size in spec.shape]
    file, text = folder / "x.raw", "x".join(str(size) for size in shape)
    seeded_input(tuple(shape), 0).tofile(file)
    ort = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    ours = [runner_path(host_target()), "--model", bundle.model_path, "--ort", ort]
    ours += ["--input", f"{spec.name}={file}@{text}", "--output-dir", folder]
    ours += ["--threads", threads, "--warmup", 0, "--iterations", 0]
    ours += ["--kernels", kernels] if kernels else []
    python = [sys.executable, "-c", PYTHON, bundle.model_path, kernels or "", spec.name, file]
    return [str(w) for w in ours], [str(w) for w in (*python, text, threads)]


def compare(bundle: Bundle, repeats: int, threads: int) -> list[tuple[str, float, float, float]]:
    """Measure, our median, Python's median, median of the ratios of neighbours."""
    with tempfile.TemporaryDirectory() as scratch:
        ours, python = commands(bundle, Path(scratch), threads)
        report = Path(scratch) / "report.json"
        # The first pair only brings the files into the page cache.
        pairs = [(cost(ours, report), cost(python)) for _ in range(repeats + 1)][1:]
    rows = []
    for name in ("wall", "user", "peak"):
        taken = [(getattr(a, name), getattr(b, name)) for a, b in pairs]
        series = ([a for a, _ in taken], [b for _, b in taken], [a / b for a, b in taken])
        first, second, ratio = (statistics.median(values) for values in series)
        rows.append((name, first, second, ratio))
    return rows


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="attnc.tools.runner_start", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args(arguments)
    units = {"wall": "s", "user": "s", "peak": "MB"}
    for name, ours, theirs, ratio in compare(Bundle.open(a.bundle), a.repeats, a.threads):
        print(f"{name:5} {ours:9.3f} {theirs:9.3f} {units[name]:2}  ratio {ratio:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
