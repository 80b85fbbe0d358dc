"""The CUDA kernels at the shapes of the models, against the GPU's roofline and PyTorch.

    python -m attnc.tools.bench_cuda [--models shvit_s4,evit_small_k070] [--batch 1,32] [--json F]

The models are traced and lowered as for a bundle, and each plugin's shapes are taken from there.
Exit code 4 without a GPU or without nvcc (unless --kernels names a folder of compiled kernels).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from attnc.compiler.errors import AttncError
from attnc.runtimes.cuda.driver import Driver, open_driver
from attnc.runtimes.cuda.gpu_bench import Case, Limits, limits_of, summary, time_kernel
from attnc.runtimes.cuda.gpu_check import code_of
from attnc.runtimes.cuda.gpu_info import gpu_state
from attnc.runtimes.cuda.kernels import kernel_of
from attnc.runtimes.cuda.launch import PRECISIONS
from attnc.tools.torch_times import torch_times, why_no_torch

MODELS = "shvit_s1,shvit_s4,evit_small_k070_fuse,sparsifiner_s,glnet_stl,tic_small"
COLUMNS = ("model", "batch", "kernel", "shapes", "nodes", "warm us", "cold us", "roofline us")


def cases_of(model: str, batch: int, precision: str) -> Iterator[Case]:
    """The distinct plugins of a model at a batch size. Raises UsageError for an unknown model."""
    from attnc.compiler.pipeline import run_pipeline
    from attnc.compiler.trace import trace
    from attnc.passes.pipelines import default
    from attnc.targets.tensorrt.lower import ATTENTION_OPSET, Options, is_plugin, lower

    traced = trace(model, batch=batch)
    run_pipeline(traced.model, default())
    lower(traced.model, Options(ATTENTION_OPSET, precision != "fp32"))
    found: dict[str, Case] = {}
    for node in traced.model.graph:
        if is_plugin(node) and kernel_of(node.op_type):
            case = replace(_case(node), model=model, batch=batch)
            sizes = {n: v for n, v in case.attributes.items() if not isinstance(v, float)}
            key = f"{case.operator} {case.label} {sorted(sizes.items())}"
            known = found.get(key)
            found[key] = replace(known, nodes=known.nodes + 1) if known else case
    yield from found.values()


def _case(node: Any) -> Case:
    from attnc.compiler.ops import registry

    shapes = tuple(tuple(map(int, value.shape)) for value in node.inputs)
    names = registry.get(node.op_type).attributes
    attributes = {name: node.attributes[name].value for name in names}
    return Case(node.op_type, shapes, attributes)


def measure(
    driver: Driver, case: Case, precision: str, limits: Limits, folder: Path | None, torch: bool
) -> dict[str, Any]:
    """One entry of the report."""
    kernel = kernel_of(case.operator)
    assert kernel is not None
    timing = time_kernel(driver, code_of(kernel, driver.sm, folder), kernel, case, precision)
    entry = summary(timing, case, kernel, precision, limits)
    return {**entry, "torch": torch_times(case, precision) if torch else None}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="attnc.tools.bench_cuda", description=__doc__)
    parser.add_argument("--models", default=MODELS, help="of `attnc list models`")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp16")
    parser.add_argument("--batch", default="1,32", help="pictures per call, as in 1,32")
    parser.add_argument("--kernels", type=Path, help="a folder with cubins and PTX; nvcc without")
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument("--json", help="file, or - for standard output")
    parser.add_argument("--fake", default="", help=argparse.SUPPRESS)  # a driver for tests
    a = parser.parse_args(arguments)
    batches = a.batch.split(",")
    if not all(batch.isdigit() and int(batch) for batch in batches):
        parser.error(f"--batch {a.batch}: numbers of at least 1, as in 1,32")
    try:
        with open_driver(a.fake) as driver:
            report = _report(driver, a, [int(batch) for batch in batches])
    except AttncError as error:
        print(f"error: {error.render()}", file=sys.stderr)
        return int(error.exit_code)
    _show(report, Console(stderr=a.json == "-", width=170))
    text = json.dumps(report, indent=1) + "\n"
    if a.json == "-":
        sys.stdout.write(text)
    elif a.json:
        Path(a.json).write_text(text, encoding="utf-8")
    return 0


def _report(driver: Driver, a: argparse.Namespace, batches: list[int]) -> dict[str, Any]:
    missing = "switched off" if a.no_torch else why_no_torch()
    if missing:
        print(f"not timed: PyTorch: {missing}", file=sys.stderr)
    limits, before = limits_of(driver, a.precision), gpu_state()
    if limits.flops is None:
        print(f"no peak is known of sm_{driver.sm}: the roofline is memory only", file=sys.stderr)
    entries = []
    for model in a.models.split(","):
        for batch in batches:
            print(f"{model}, batch {batch}", file=sys.stderr, flush=True)
            for case in cases_of(model, batch, a.precision):
                entries.append(measure(driver, case, a.precision, limits, a.kernels, not missing))
    return {
        "device": {
            "gpu": driver.name,
            "sm": driver.sm,
            "cuda": driver.version,
            "bandwidth_gb_s": round(1e-9 * limits.bandwidth, 1),
            "peak_tflops": None if limits.flops is None else round(1e-12 * limits.flops, 1),
            "nvidia_smi": {"before": before, "after": gpu_state()},
        },
        "precision": a.precision,
        "torch_missing": missing,
        "kernels": entries,
    }


def _show(report: dict[str, Any], stream: Console) -> None:
    device = report["device"]
    peak = device["peak_tflops"] or "unknown"
    title = f"{device['gpu']} (sm_{device['sm']}): {device['bandwidth_gb_s']} GB/s of a copy, peak "
    table = Table(title=f"{title}{peak} TFLOP/s")
    ways = list(
        dict.fromkeys(w for e in report["kernels"] for w in (e["torch"] or {"us": {}})["us"])
    )
    for name in (*COLUMNS, "of roofline", *(f"{way} us" for way in ways)):
        table.add_column(name, overflow="fold")
    for entry in report["kernels"]:
        share = entry["share_of_roofline"]
        cells = [str(entry[name.replace(" ", "_")]) for name in COLUMNS]
        cells.append("" if share is None else f"{share:.0%}")
        times = (entry["torch"] or {"us": {}})["us"]
        table.add_row(*cells, *(str(times.get(way, "")) for way in ways))
    stream.print(table)
    for entry in report["kernels"]:
        for way, problem in (entry["torch"] or {"problems": {}})["problems"].items():
            stream.print(f"not timed: {way} of {entry['kernel']} {entry['shapes']}: {problem}")


if __name__ == "__main__":
    sys.exit(main())
