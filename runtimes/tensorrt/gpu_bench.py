"""Our engine and the plain export's in the same TensorRT on the same GPU, timed in turn.

Each engine lives in a process of its own and is timed by CUDA events: called by the host, and
replayed as a CUDA graph, which leaves out what the host needs to queue it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.errors import AttncError, ParityError
from attnc.compiler.progress import SILENT, Progress
from attnc.runtimes.compare import compare
from attnc.runtimes.cuda.gpu_info import gpu_state
from attnc.runtimes.machine import machine_info
from attnc.runtimes.measure import Effort, Taken, measure
from attnc.runtimes.registry import LeftOut
from attnc.runtimes.statistics import percentile, ratio_interval, ratio_of_medians
from attnc.runtimes.tensorrt.gpu import GpuEngine, Host

#: How far two engines of one model may be apart before timing them is pointless; rounding turns
#: the choices of models that choose. The parity check is `attnc verify`.
SAME_MODEL = {"fp32": 2e-2, "fp16": 5e-2, "bf16": 2e-1}
SAME_CHOOSING_MODEL = 0.5
#: Calls before a turn's samples: the clocks of an idle GPU fall.
LEAD_IN, WARM_UP = 10, 20
MODES = ("calls", "graph")


@dataclass(frozen=True)
class Candidate:
    """A built engine; `plugin` is the bundle's plugin.py if it has plugins."""

    name: str
    plan: Path
    plugin: Path | None = None


@dataclass(frozen=True)
class Setting:
    """A batch size with its engines, ours first."""

    batch: int
    shape: tuple[int, ...]
    candidates: tuple[Candidate, ...]


@dataclass
class Row:
    """One engine in one mode: milliseconds per call in the order taken, and where calls queue."""

    runner: str
    mode: str
    batch: int
    samples: list[float] = field(default_factory=list)
    queued: list[float] = field(default_factory=list)
    ratio_to: dict[str, float] = field(default_factory=dict)
    ratio_interval: dict[str, tuple[float, float]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The row of the report."""
        return {
            "runner": self.runner,
            "mode": self.mode,
            "batch": self.batch,
            "median_ms": round(statistics.median(self.samples), 5),
            "p90_ms": round(percentile(self.samples, 90), 5),
            "p99_ms": round(percentile(self.samples, 99), 5),
            "n": len(self.samples),
            "pictures_per_second": round(1e3 * self.batch / statistics.median(self.queued), 1),
            "ratio_to": {name: round(ratio, 4) for name, ratio in self.ratio_to.items()},
            "ratio_interval": {
                name: [round(low, 4), round(high, 4)]
                for name, (low, high) in self.ratio_interval.items()
            },
            "samples_ms": [round(sample, 5) for sample in self.samples],
        }


@dataclass(frozen=True)
class Timed:
    """One engine in one mode, as `measure` wants it."""

    engine: GpuEngine
    mode: str

    def turn(self, lead_in: int, burst: int) -> tuple[list[float], bool]:
        """See `measure.Timed`; the GPU is at rest afterwards."""
        return self.engine.turn(lead_in, burst, graph=self.mode == "graph"), True

    def queued(self, calls: int) -> float:
        """Milliseconds per call, back to back."""
        return self.engine.back_to_back(calls, graph=self.mode == "graph")


def run_gpu_bench(
    host: Host,
    settings: Sequence[Setting],
    effort: Effort,
    same: float,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Time all engines; returns results, left_out, device, machine and method of the report.

    Raises ParityError if two engines compute something else, and what the engines raise.
    """
    rows: dict[tuple[int, str, str], Row] = {}
    left_out: dict[tuple[int, str], LeftOut] = {}
    state, about = {"before": gpu_state()}, dict[str, Any]()
    for number in range(1, effort.sittings + 1):
        for setting in settings:
            where = f"sitting {number} of {effort.sittings}: batch {setting.batch}"
            progress.stage(where, effort.rounds)
            about = _sit(host, setting, effort, same, rows, left_out, progress.advance)
    state["after"] = gpu_state()
    _compare_rows(rows, effort)
    return {
        "results": [row.as_json() for row in rows.values()],
        "left_out": [asdict(miss) for miss in left_out.values()],
        "device": {**about, "nvidia_smi": state},
        "machine": machine_info(),
        "method": {
            **asdict(effort),
            "engines": "both built on this GPU, from the model file and from the plain export",
            "time": "CUDA events around each call; copies of inputs and outputs do not count",
            "modes": {"calls": "queued by the host", "graph": "replayed as a CUDA graph"},
            "pictures_per_second": f"{effort.burst} calls back to back",
            "interval": "bootstrap over sittings and over rounds within them, 95 %",
        },
    }


def _sit(
    host: Host,
    setting: Setting,
    effort: Effort,
    same: float,
    rows: dict[tuple[int, str, str], Row],
    left_out: dict[tuple[int, str], LeftOut],
    advance: Callable[[], None],
) -> dict[str, Any]:
    """One sitting of one batch size in fresh processes; returns where it ran."""
    with ExitStack() as stack:
        engines = [
            stack.enter_context(GpuEngine(host, one.plan, one.plugin, one.name))
            for one in setting.candidates
        ]
        outputs, timed = [], []
        for engine in engines:
            output, problem = engine.prepare(setting.shape, effort.warmup)
            outputs.append(output)
            timed += [Timed(engine, mode) for mode in MODES if mode == "calls" or not problem]
            if problem:
                miss = LeftOut(f"{engine.name} as a CUDA graph", problem, "", None, setting.batch)
                left_out[setting.batch, engine.name] = miss
        _check_same(engines, outputs, same)
        for one, taken in zip(timed, measure(timed, effort, advance), strict=True):
            _keep(rows, setting.batch, one, taken, effort)
        return engines[0].about


def _keep(
    rows: dict[tuple[int, str, str], Row], batch: int, one: Timed, taken: Taken, effort: Effort
) -> None:
    key = (batch, one.engine.name, one.mode)
    row = rows.setdefault(key, Row(one.engine.name, one.mode, batch))
    row.samples += taken.samples
    row.queued.append(one.queued(effort.burst))


def _check_same(
    engines: Sequence[GpuEngine], outputs: Sequence[NDArray[np.float32]], limit: float
) -> None:
    for engine, output in zip(engines[1:], outputs[1:], strict=True):
        distance = compare(outputs[0], output).relative
        if not distance <= limit:
            raise ParityError(
                f"{engines[0].name} and {engine.name} do not compute the same: relative error "
                f"{distance:.2g}, at most {limit:g} is accepted",
                remedy="run `attnc verify` on the bundle",
            )


def _compare_rows(rows: dict[tuple[int, str, str], Row], effort: Effort) -> None:
    """Ours against each other engine in the same mode: ours / theirs."""
    for (batch, name, mode), ours in rows.items():
        if name != "attnc":
            continue
        for theirs in rows.values():
            same = (theirs.batch, theirs.mode) == (batch, mode) and theirs is not ours
            if not same:
                continue
            if len(theirs.samples) != len(ours.samples):
                raise AttncError(f"{name} and {theirs.runner} have unequal numbers of samples")
            ours.ratio_to[theirs.runner] = ratio_of_medians(ours.samples, theirs.samples)
            ours.ratio_interval[theirs.runner] = ratio_interval(
                ours.samples, theirs.samples, block=effort.burst, sittings=effort.sittings
            )
