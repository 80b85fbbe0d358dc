"""How long a prediction takes on each choice of compute units, timed in turn as ratios.

Each choice lives in processes of its own, as in `attnc bench`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from attnc.compiler.errors import AttncError, ParityError
from attnc.compiler.progress import SILENT, Progress
from attnc.compiler.seeded_input import seeded_input, seeded_pixels
from attnc.runtimes.bench import Row, Setting
from attnc.runtimes.bench_process import processes
from attnc.runtimes.compare import compare
from attnc.runtimes.coreml.device import UNITS, CoremlRunner, compute_unit, mac_info, require
from attnc.runtimes.coreml.device_values import numbers
from attnc.runtimes.coreml.features import Feature
from attnc.runtimes.coreml.package import open_package
from attnc.runtimes.coreml.types import STORAGE, Array
from attnc.runtimes.machine import machine_info
from attnc.runtimes.measure import Effort, Taken, measure
from attnc.runtimes.registry import LeftOut
from attnc.runtimes.request import Files, Request
from attnc.runtimes.runner import Outputs
from attnc.runtimes.statistics import ratio_interval, ratio_of_medians

#: How far two choices may be apart before timing them is pointless: the Neural Engine computes in
#: float16, the processor may not. The parity check is `attnc verify`.
SAME_MODEL = 5e-2
#: Seconds that a choice has to load: compiling for the Neural Engine takes minutes.
PATIENCE = 600.0
_HERE = "attnc.runtimes.coreml.device_latency"
#: What a child process calls, by compute units.
FACTORIES = {
    "all": f"{_HERE}:on_all",
    "cpu": f"{_HERE}:on_cpu",
    "cpu-and-gpu": f"{_HERE}:on_cpu_and_gpu",
    "cpu-and-ne": f"{_HERE}:on_cpu_and_ne",
}


def measure_units(
    package_path: Path,
    units: Sequence[str] = tuple(UNITS),
    effort: Effort | None = None,
    same: float = SAME_MODEL,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Time a package on choices of compute units; the first is compared to each of the others.

    Returns results, left_out, device, machine and method of the report of `attnc bench`; a choice
    that Core ML refuses is left out, and the last one's refusal raised if none is left. Raises
    MissingRuntimeError where Core ML cannot predict, UsageError for a folder that is no package
    or unknown units, ParityError if two choices give outputs further apart than `same`.
    """
    require()
    for each in units:
        compute_unit(each)
    effort = effort or Effort()
    shape = open_package(package_path).inputs[0].shape
    requests = [
        Request(each, FACTORIES[each], Files(str(package_path), ""), None, shape) for each in units
    ]
    setting = Setting(shape[0], 0, requests, effort, same)
    left_out = _try_out(setting, progress)
    for number in range(1, effort.sittings + 1):
        progress.stage(f"sitting {number} of {effort.sittings}", effort.rounds)
        setting.add(_sit(setting, progress))
    return {
        # Core ML alone decides on threads.
        "results": [{**row.as_json(), "threads": None} for row in _rows(setting)],
        "left_out": [asdict(miss) for miss in left_out],
        "device": mac_info(),
        "machine": machine_info(),
        "method": {
            **asdict(effort),
            "runners": "the compute units that Core ML may use",
            "input": list(shape),
            "time": "one call of MLModel.predict, with the conversion of its input",
            "interval": "bootstrap over sittings and over rounds within them, 95 %",
        },
    }


def _try_out(setting: Setting, progress: Progress) -> list[LeftOut]:
    """Drop the choices that Core ML refuses; raises if these were all."""
    left_out = []
    for request in list(setting.requests):
        progress.stage(f"trying compute units {request.name}")
        try:
            with processes([request], PATIENCE) as (process,):
                process.warm_up(1)
        except AttncError as error:
            setting.requests.remove(request)
            miss = LeftOut(request.name, error.message, error.remedy, None, setting.batch)
            left_out.append(miss)
            if not setting.requests:
                raise
    return left_out


def _sit(setting: Setting, progress: Progress) -> list[Taken]:
    """One sitting, in fresh processes."""
    with processes(setting.requests) as started:
        outputs = [process.warm_up(setting.effort.warmup) for process in started]
        _check_same([process.name for process in started], outputs, setting.same)
        return measure(started, setting.effort, progress.advance)


def _check_same(names: Sequence[str], outputs: Sequence[NDArray[Any]], limit: float) -> None:
    for name, output in zip(names[1:], outputs[1:], strict=True):
        distance = compare(outputs[0], output).relative
        if not distance <= limit:
            raise ParityError(
                f"compute units {names[0]} and {name} do not compute the same: relative error "
                f"{distance:.2g}, at most {limit:g} is accepted",
                remedy="run `attnc verify` on the bundle",
            )


def _rows(setting: Setting) -> list[Row]:
    """The rows of the report, the first against each of the others."""
    effort = setting.effort
    rows = [
        Row(request.name, 0, setting.batch, taken.samples, taken.restless)
        for request, taken in zip(setting.requests, setting.taken, strict=True)
    ]
    first = rows[0]
    for other in rows[1:]:
        first.ratio_to[other.runner] = ratio_of_medians(first.samples, other.samples)
        first.ratio_interval[other.runner] = ratio_interval(
            first.samples, other.samples, block=effort.burst, sittings=effort.sittings
        )
    return rows


@dataclass(frozen=True)
class Later:
    """An output that becomes an array when it is asked for, which is not while time is taken."""

    array: Callable[[], Array]

    def tolist(self) -> Any:
        """As of an array."""
        return self.array().tolist()


class TimedRunner(CoremlRunner):
    """The benchmark's: it makes its own inputs once.

    What a child process feeds are normally distributed floats, which are no picture.
    """

    def activate(self) -> None:
        """Load the package and make the inputs."""
        super().activate()
        self._given = {
            each.name: self._ready(each.name, seeded_values(each)) for each in self.takes
        }

    def infer(self, feed: Any) -> Outputs:
        """Predict from the inputs that were made; gives what `numbers` finds in the outputs."""
        outputs = super().infer(self._given)
        later: Any = Later(lambda: numbers(outputs, self.gives, self.labels))
        return {"numbers": later}


def seeded_values(feature: Feature) -> Array:
    """An input of the feature's shape and type: a picture's are whole numbers."""
    if feature.kind == "image":
        return seeded_pixels(feature.shape, 0)
    return seeded_input(feature.shape, 0).astype(STORAGE[feature.dtype])


def on_all(files: Files, threads: int | None) -> TimedRunner:
    """On whatever Core ML chooses."""
    return TimedRunner(Path(files.bundle), "all")


def on_cpu(files: Files, threads: int | None) -> TimedRunner:
    """On the processor alone."""
    return TimedRunner(Path(files.bundle), "cpu")


def on_cpu_and_gpu(files: Files, threads: int | None) -> TimedRunner:
    """On processor and GPU."""
    return TimedRunner(Path(files.bundle), "cpu-and-gpu")


def on_cpu_and_ne(files: Files, threads: int | None) -> TimedRunner:
    """On processor and Neural Engine."""
    return TimedRunner(Path(files.bundle), "cpu-and-ne")
