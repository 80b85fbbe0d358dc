"""The benchmark: our bundle and its competitors, timed in turn, reported as ratios.

It is told how to get the runners of a batch size and never exports anything itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.errors import ParityError
from attnc.compiler.progress import SILENT, Progress
from attnc.compiler.seeded_input import seeded_input
from attnc.runtimes.compare import compare
from attnc.runtimes.footprint import Session, footprint
from attnc.runtimes.machine import machine_info
from attnc.runtimes.measure import Effort, measure
from attnc.runtimes.registry import Entry, Workload, find_runner
from attnc.runtimes.runner import Feed, Runner
from attnc.runtimes.statistics import percentile, ratio_interval, ratio_of_medians

# Not the parity check, which `attnc verify` is: timing two different models is worth nothing.
SAME_MODEL = 1e-3


@dataclass(frozen=True)
class Plan:
    """What to time: competitors that are installed, thread counts, batch sizes, and how long."""

    against: tuple[Entry, ...]
    threads: tuple[int, ...]
    batches: tuple[int, ...]
    effort: Effort = field(default_factory=Effort)
    footprint_repeats: int = 5


@dataclass
class Row:
    """The samples of one runner at one setting, in milliseconds, in the order taken."""

    runner: str
    threads: int
    batch: int
    samples: list[float]
    ratio_to: dict[str, float] = field(default_factory=dict)
    ratio_interval: dict[str, tuple[float, float]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The row of the report."""
        return {
            "runner": self.runner,
            "threads": self.threads,
            "batch": self.batch,
            "median_ms": round(statistics.median(self.samples), 4),
            "p90_ms": round(percentile(self.samples, 90), 4),
            "p99_ms": round(percentile(self.samples, 99), 4),
            "n": len(self.samples),
            "ratio_to": {name: round(ratio, 4) for name, ratio in self.ratio_to.items()},
            "ratio_interval": {
                name: [round(low, 4), round(high, 4)]
                for name, (low, high) in self.ratio_interval.items()
            },
            "samples_ms": [round(sample, 4) for sample in self.samples],
        }


def run_bench(
    plan: Plan, workload: Callable[[int], Workload], progress: Progress = SILENT
) -> dict[str, Any]:
    """Time everything in `plan`; `workload(batch)` gives the model at a batch size.

    Returns the JSON report: model, precision, results, footprint, machine, method.
    Raises ParityError if two runners do not compute the same, and what runners raise.
    """
    rows: list[Row] = []
    sizes: list[dict[str, Any]] = []
    first = workload(plan.batches[0])
    for batch in plan.batches:
        work = workload(batch)
        for threads in plan.threads:
            rows += _time_setting(plan, work, threads, batch, progress)
    if any(entry.name == "ort" for entry in plan.against) and plan.footprint_repeats:
        sizes = _footprint(plan, first, progress)
    manifest = first.bundle.manifest
    return {
        "model": manifest.model,
        "precision": manifest.precision,
        "results": [row.as_json() for row in rows],
        "footprint": sizes,
        "machine": machine_info(),
        "method": {
            "rounds": plan.effort.rounds,
            "burst": plan.effort.burst,
            "warmup": plan.effort.warmup,
            "input": list(_input_shape(first, plan.batches[0])),
            "interval": "bootstrap over rounds, 95 %",
        },
    }


def _time_setting(
    plan: Plan, work: Workload, threads: int, batch: int, progress: Progress
) -> list[Row]:
    entries = [find_runner("attnc"), *plan.against]
    progress.stage(f"loading {len(entries)} runners (batch {batch}, threads {threads})")
    feed = {work.bundle.manifest.inputs[0].name: seeded_input(_input_shape(work, batch), 0)}
    with ExitStack() as stack:
        runners = [stack.enter_context(entry.make(work, threads)) for entry in entries]
        feeds = [_renamed(feed, runner) for runner in runners]
        _check_same_model(runners, feeds)
        progress.stage(f"timing (batch {batch}, threads {threads})", plan.effort.rounds)
        taken = measure(runners, feeds, plan.effort, progress.advance)
    rows = [
        Row(entry.name, threads, batch, samples)
        for entry, samples in zip(entries, taken, strict=True)
    ]
    _relate(rows, plan.effort.burst)
    return rows


def _relate(rows: list[Row], burst: int) -> None:
    """Our row against each of the others: ours / theirs."""
    ours = rows[0]
    for theirs in rows[1:]:
        ours.ratio_to[theirs.runner] = ratio_of_medians(ours.samples, theirs.samples)
        ours.ratio_interval[theirs.runner] = ratio_interval(
            ours.samples, theirs.samples, block=burst
        )


def _input_shape(work: Workload, batch: int) -> tuple[int, ...]:
    return (batch, *(int(size) for size in work.bundle.manifest.inputs[0].shape[1:]))


def _renamed(feed: Feed, runner: Runner) -> Feed:
    """The same array under the name that `runner` uses."""
    return {runner.inputs[0].name: next(iter(feed.values()))}


def _check_same_model(runners: Sequence[Runner], feeds: Sequence[Feed]) -> None:
    outputs: list[NDArray[Any]] = [
        np.asarray(next(iter(runner.infer(feed).values())))
        for runner, feed in zip(runners, feeds, strict=True)
    ]
    for runner, output in zip(runners[1:], outputs[1:], strict=True):
        distance = compare(outputs[0], output).relative
        if not distance <= SAME_MODEL:
            raise ParityError(
                f"{runners[0].name} and {runner.name} do not compute the same: relative error "
                f"{distance:.2g}, at most {SAME_MODEL:g} is accepted",
                remedy="run `attnc verify` on the bundle",
            )


def _footprint(plan: Plan, work: Workload, progress: Progress) -> list[dict[str, Any]]:
    from attnc.runtimes.attnc_runner import host_library

    batch, threads = plan.batches[0], plan.threads[0]
    library = host_library(work.bundle)
    shape = _input_shape(work, batch)
    model = str(work.bundle.model_path)
    sessions = [
        Session("attnc", model, str(library) if library else None, threads, shape),
        Session("ort", str(work.plain()), None, threads, shape),
    ]
    progress.stage("session creation and memory", 2 * plan.footprint_repeats)
    ours, theirs = footprint(sessions, plan.footprint_repeats, progress.advance)
    ours["ratio_to"] = {"ort": _ratios(ours, theirs)}
    return [ours, theirs]


def _ratios(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    return {
        key: round(ours[key] / theirs[key], 4)
        for key in ("create_ms", "peak_mb")
        if ours[key] and theirs[key]
    }
