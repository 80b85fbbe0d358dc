"""`attnc device run`: a bundle's parity and latency on a device, reported as `attnc bench` does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError, MissingRuntimeError
from attnc.compiler.progress import SILENT, Progress
from attnc.runtimes.bench import Row
from attnc.runtimes.checks import Check, Report, parity_check
from attnc.runtimes.compare import compare
from attnc.runtimes.cpu.compiler import BuildError
from attnc.runtimes.machine import package_versions
from attnc.runtimes.tolerance import Tolerance
from attnc.runtimes.verify import (
    Case,
    Reference,
    live_cases,
    rebuilt,
    recorded_cases,
    tolerance_for,
)

from .build import TARGETS, build
from .execute import Files, Ran, execute
from .place import check_space, check_target, check_temperature, place
from .request import Request, model_file
from .shell import Shell


def run_on_device(
    bundle: Bundle,
    connect: Callable[[], Shell],
    request: Request,
    rebuild: Callable[[], Reference],
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Run an opened bundle; `rebuild` gives the source model or raises AttncError.

    Returns the report of `attnc bench` with `device`, `ok` and `checks` added. Raises AttncError
    for what keeps the model from running; failed parity is in the report.
    """
    request.check()
    model = model_file(bundle, request.form)
    with closing(connect()) as shell:
        return _run(bundle, shell, (model, request), rebuild, progress)


def _run(
    bundle: Bundle,
    shell: Shell,
    what: tuple[Path, Request],
    rebuild: Callable[[], Reference],
    progress: Progress,
) -> dict[str, Any]:
    model, request = what
    progress.stage(f"looking at {shell.name}")
    wanted = tuple(library.target for library in bundle.manifest.kernels)
    target = check_target(shell, wanted, tuple(TARGETS))
    files = Files(runner_path(target), model, bundle.kernel_library(target), request.ort)
    warm = check_temperature(shell, request.max_temperature)
    check_space(shell, files.all())
    report, cases, tolerance = _cases(bundle, rebuild, progress)
    with place(shell, keep=request.keep) as folder:
        progress.stage(f"running on {shell.name}")
        arrays = [case.array for case in cases]
        ran = execute(folder, files, bundle.manifest.inputs[0].name, arrays, request)
    report.checks += _parity(cases, ran, tolerance, target)
    return {**_bench(bundle, ran, request), **_device(shell, target, warm, ran), **report.as_json()}


def runner_path(target: str) -> Path:
    """The runner, built if need be. Raises MissingRuntimeError if it cannot be."""
    try:
        return build(target)
    except BuildError as error:
        raise MissingRuntimeError(
            f"the runner for {target} is not built: {str(error).strip()[-300:]}",
            remedy=f"pip install ziglang; python -m attnc.runtimes.device.build --target {target}",
        ) from error


def _cases(
    bundle: Bundle, rebuild: Callable[[], Reference], progress: Progress
) -> tuple[Report, list[Case], Tolerance]:
    """The inputs of `attnc verify`, with what is expected of them."""
    report, recorded = Report(), list(recorded_cases(bundle))
    reference = rebuilt(rebuild, report, progress)
    live = live_cases(bundle, reference, None, report)
    if not recorded and not live:
        raise AttncError("the bundle has no recorded input, and its source is not here to make one")
    return report, [*recorded, *live], tolerance_for(bundle, reference, recorded, live)


def _parity(cases: list[Case], ran: Ran, tolerance: Tolerance, target: str) -> list[Check]:
    checks = []
    for case, output in zip(cases, ran.outputs, strict=False):
        name = f"parity/{case.name}/device-{target}"
        if output.shape != case.expected.shape:
            reason = f"the output is {output.shape}, not {case.expected.shape}"
            checks.append(Check(name, "failed", reason=reason))
            continue
        distance = compare(output, case.expected)
        limit = tolerance.limit(case.expected)
        checks.append(parity_check(name, distance, limit, note=tolerance.note))
    return checks


def _bench(bundle: Bundle, ran: Ran, request: Request) -> dict[str, Any]:
    """The fields of `attnc bench`, of a device that has nothing to compare with."""
    taken = ran.report
    shape = list(recorded_shape(bundle, ran))
    row = Row("attnc", request.threads, shape[0], [ns / 1e6 for ns in taken["samples_ns"]])
    size = {
        "runner": "attnc",
        "threads": request.threads,
        "create_ms": round(taken["create_ns"] / 1e6, 3),
        "peak_mb": round(taken["peak_rss_kb"] / 1024, 2) if taken["peak_rss_kb"] > 0 else None,
        "n": 1,
    }
    method = {key: value for key, value in asdict(request).items() if key != "ort"}
    return {
        "model": bundle.manifest.model,
        "precision": bundle.manifest.precision,
        "results": [row.as_json()],
        "left_out": [],
        "footprint": [size],
        "method": {**method, "input": shape},
    }


def recorded_shape(bundle: Bundle, ran: Ran) -> tuple[int, ...]:
    """The shape of the timed input, which is the first."""
    spec = bundle.manifest.inputs[0].shape[1:]
    return (int(ran.outputs[0].shape[0]), *(int(size) for size in spec))


def _device(shell: Shell, target: str, warm: float | None, ran: Ran) -> dict[str, Any]:
    """The machine as `attnc bench` tells it, and what only a device has."""
    taken = ran.report
    lines = [line.partition(":") for line in taken["cpuinfo"].splitlines() if ":" in line]
    facts = {key.strip(): value.strip() for key, _, value in lines}
    machine = {
        "cpu": facts.get("model name") or facts.get("Hardware") or facts.get("CPU part", target),
        "architecture": target.partition("-")[2],
        "features": facts.get("flags", facts.get("Features", "")).split(),
        "cores": sum(key.strip() == "processor" for key, _, _ in lines),
        "system": shell.ask("uname -a"),
        "python": None,
        "versions": {"onnxruntime": taken["onnxruntime"], **package_versions(("attnc",))},
    }
    device = {
        "name": shell.name,
        "target": target,
        "degrees_before": warm,
        "memory_kb": {"total": taken["memory_kb"], "available": taken["available_kb"]},
        "before": taken["before"],
        "during": taken["during"],
        "after": taken["after"],
        "samples_ns": taken["samples_ns"],
    }
    return {"machine": machine, "device": device}
