"""The benchmark: our bundle and its competitors, each in its process, timed in turn, as ratios.

It is told how to get the runners of a batch size and never exports anything itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError, ParityError
from attnc.compiler.progress import SILENT, Progress
from attnc.runtimes.bench_process import processes
from attnc.runtimes.compare import compare
from attnc.runtimes.footprint import Session, footprint
from attnc.runtimes.limits import limits_of
from attnc.runtimes.machine import machine_info
from attnc.runtimes.measure import Effort, Taken, measure
from attnc.runtimes.registry import Entry, LeftOut, Workload, find_runner
from attnc.runtimes.request import Files, Request
from attnc.runtimes.statistics import percentile, ratio_interval, ratio_of_medians
from attnc.runtimes.tolerance import is_discontinuous

# Not the parity check, which `attnc verify` is: timing two different models is worth nothing.
SAME_MODEL = 1e-3
# Models that keep the best of many scores choose differently where runtimes round differently.
SAME_CHOOSING_MODEL = 0.2


@dataclass(frozen=True)
class Plan:
    """What to time: competitors that are installed, thread counts, batch sizes, and how long.

    `patience` is how many seconds a picky competitor has to load a model and run it once, `budget`
    how many the samples of one setting may take: the effort shrinks to fit.
    """

    against: tuple[Entry, ...]
    threads: tuple[int, ...]
    batches: tuple[int, ...]
    effort: Effort = field(default_factory=Effort)
    footprint_repeats: int = 5
    patience: float = 300.0
    budget: float | None = None


@dataclass
class Row:
    """The samples of one runner at one setting, in milliseconds, in the order taken."""

    runner: str
    threads: int
    batch: int
    samples: list[float]
    restless: int = 0
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
            "restless_turns": self.restless,
            "ratio_to": {name: round(ratio, 4) for name, ratio in self.ratio_to.items()},
            "ratio_interval": {
                name: [round(low, 4), round(high, 4)]
                for name, (low, high) in self.ratio_interval.items()
            },
            "samples_ms": [round(sample, 4) for sample in self.samples],
        }


@dataclass
class Setting:
    """A batch size and a thread count: what its processes are asked for, and what they gave."""

    batch: int
    threads: int
    requests: list[Request]
    effort: Effort
    same: float = SAME_MODEL  # relative error at most, between two runners
    taken: list[Taken] = field(default_factory=list)

    def add(self, sitting: list[Taken]) -> None:
        """One sitting more, in order of `requests`."""
        self.taken = self.taken or [Taken() for _ in sitting]
        for whole, part in zip(self.taken, sitting, strict=True):
            whole.samples += part.samples
            whole.restless += part.restless


def run_bench(
    plan: Plan, workload: Callable[[int], Workload], progress: Progress = SILENT
) -> dict[str, Any]:
    """Time everything in `plan`; `workload(batch)` gives the model at a batch size.

    Returns the JSON report: model, precision, results, left_out, footprint, machine, method.
    Raises ParityError if two runners do not compute the same, and what runners raise.
    """
    settings = [
        _setting(plan, workload(batch), threads, batch)
        for batch in plan.batches
        for threads in plan.threads
    ]
    left_out = [miss for setting in settings for miss in _try_out(setting, plan, progress)]
    # Sitting by sitting, so that a slow spell of the machine falls on every setting alike.
    for number in range(1, plan.effort.sittings + 1):
        for setting in settings:
            where = f"batch {setting.batch}, threads {setting.threads}"
            progress.stage(
                f"sitting {number} of {plan.effort.sittings}: {where}", plan.effort.rounds
            )
            setting.add(_sit(setting, plan.budget, progress))
    first = workload(plan.batches[0])
    sizes: list[dict[str, Any]] = []
    if any(entry.name == "ort" for entry in plan.against) and plan.footprint_repeats:
        sizes = _footprint(plan, first, progress)
    return {
        "model": first.bundle.manifest.model,
        "precision": first.bundle.manifest.precision,
        "results": [row.as_json() for setting in settings for row in _rows(setting)],
        "left_out": [asdict(miss) for miss in left_out],
        "footprint": sizes,
        "machine": machine_info(),
        "method": {
            **asdict(plan.effort),
            "budget": plan.budget,
            "input": list(_input_shape(first, plan.batches[0])),
            "interval": "bootstrap over sittings and over rounds within them, 95 %",
        },
    }


def _setting(plan: Plan, work: Workload, threads: int, batch: int) -> Setting:
    same = same_model_limit(work.bundle)
    return Setting(batch, threads, _requests(plan, work, threads, batch), plan.effort, same)


def _requests(plan: Plan, work: Workload, threads: int, batch: int) -> list[Request]:
    """One per runner, ours first; exports what they need."""
    entries = [find_runner("attnc"), *plan.against]
    plain = str(work.plain()) if any(entry.takes_plain for entry in entries) else ""
    files = Files(str(work.bundle.path), str(work.source.path), plain, str(work.scratch))
    shape = _input_shape(work, batch)
    return [Request(entry.name, entry.factory, files, threads, shape) for entry in entries]


def _try_out(setting: Setting, plan: Plan, progress: Progress) -> list[LeftOut]:
    """Drop the picky competitors that cannot run this model; raises if they all were picky.

    What they compile is kept in the scratch folder, so this is no time lost.
    """
    picky = {entry.name for entry in plan.against if entry.picky}
    left_out = []
    for request in [request for request in setting.requests if request.name in picky]:
        progress.stage(f"trying {request.name} (batch {setting.batch}, threads {setting.threads})")
        try:
            _run_once(request, plan.patience)
        except AttncError as error:
            setting.requests.remove(request)
            left_out.append(
                LeftOut(request.name, error.message, error.remedy, setting.threads, setting.batch)
            )
            if len(setting.requests) == 1:
                raise
    return left_out


def _run_once(request: Request, patience: float) -> None:
    with processes([request], patience) as (process,):
        process.warm_up(1)


def _sit(setting: Setting, budget: float | None, progress: Progress) -> list[Taken]:
    """One sitting of one setting, in fresh processes; they warm up one after the other."""
    with processes(setting.requests) as started:
        outputs = [process.warm_up(setting.effort.warmup) for process in started]
        check_same_model([process.name for process in started], outputs, setting.same)
        if budget is not None and not setting.taken:
            calls = sum(process.call for process in started)
            setting.effort = setting.effort.within(budget, calls)
        return measure(started, setting.effort, progress.advance)


def _rows(setting: Setting) -> list[Row]:
    """The setting's rows of the report; ours against each of the others: ours / theirs."""
    rows = [
        Row(request.name, setting.threads, setting.batch, taken.samples, taken.restless)
        for request, taken in zip(setting.requests, setting.taken, strict=True)
    ]
    ours = rows[0]
    for theirs in rows[1:]:
        ours.ratio_to[theirs.runner] = ratio_of_medians(ours.samples, theirs.samples)
        ours.ratio_interval[theirs.runner] = ratio_interval(
            ours.samples,
            theirs.samples,
            block=setting.effort.burst,
            sittings=setting.effort.sittings,
        )
    return rows


def _input_shape(work: Workload, batch: int) -> tuple[int, ...]:
    return (batch, *(int(size) for size in work.bundle.manifest.inputs[0].shape[1:]))


def same_model_limit(bundle: Bundle) -> float:
    """The relative error that two runners of a bundle's model may have.

    In fewer bits each of two may be off by what the precision may be.
    """
    least = SAME_CHOOSING_MODEL if is_discontinuous(bundle) else SAME_MODEL
    return (
        least if bundle.manifest.precision == "fp32" else max(least, 2 * limits_of(bundle).relative)
    )


def check_same_model(names: Sequence[str], outputs: Sequence[NDArray[Any]], limit: float) -> None:
    """Raise ParityError naming the first runner that is further from the first than `limit`."""
    for name, output in zip(names[1:], outputs[1:], strict=True):
        distance = compare(outputs[0], output).relative
        if not distance <= limit:
            raise ParityError(
                f"{names[0]} and {name} do not compute the same: relative error "
                f"{distance:.2g}, at most {limit:g} is accepted",
                remedy="run `attnc verify` on the bundle",
            )


def _footprint(plan: Plan, work: Workload, progress: Progress) -> list[dict[str, Any]]:
    from attnc.runtimes.attnc_runner import timed_library

    batch, threads = plan.batches[0], plan.threads[0]
    library = timed_library(work.bundle)
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
