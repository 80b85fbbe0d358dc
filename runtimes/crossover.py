"""Where a sparse model begins to pay against its dense twin: both timed in turn, then a line drawn.

It is told how to get the models and never exports anything itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from attnc.compiler.progress import Progress
from attnc.runtimes.bench_process import processes
from attnc.runtimes.measure import Effort, Taken, measure
from attnc.runtimes.onnx_session import open_session, session_options, session_specs
from attnc.runtimes.ort_runner import OrtRunner
from attnc.runtimes.request import Files, Request
from attnc.runtimes.statistics import percentile, ratio_interval, ratio_of_medians


@dataclass(frozen=True)
class Compiled:
    """A model that was compiled for this machine: its folder, and the operations of one run."""

    folder: Path
    flops: int
    shape: tuple[int, ...]  # of its input


@dataclass(frozen=True)
class Cell:
    """One keep rate at one picture size and batch, against the dense model in the same run.

    Below 1, `latency_ratio` and `flop_ratio` say how much of the dense model's time and arithmetic
    is left; `realised` is the one divided by the other: 1 is what the arithmetic promised.
    """

    image_size: int
    tokens: int
    batch: int
    keep: float
    sparse_ms: float
    dense_ms: float
    latency_ratio: float
    interval: tuple[float, float]
    flop_ratio: float

    @property
    def realised(self) -> float:
        """Latency ratio over FLOP ratio."""
        return self.latency_ratio / self.flop_ratio

    def as_json(self) -> dict[str, Any]:
        """The cell of the report."""
        return {**asdict(self), "realised": round(self.realised, 4)}


class CompiledRunner(OrtRunner):
    """Runs a `Compiled` folder with the kernels that lie in it."""

    name: ClassVar[str] = "compiled"

    def activate(self) -> None:
        """Create the session."""
        library = next(self._model.parent.glob("kernels/*"), None)
        self._session = open_session(self._model, session_options(self._threads, library))
        self.inputs, self.outputs = session_specs(self._session)


def from_files(files: Files, threads: int | None) -> CompiledRunner:
    """The runner that the child process makes; `files.bundle` is the folder of a `Compiled`."""
    return CompiledRunner(Path(files.bundle) / "model.onnx", threads)


def time_cells(
    dense: Compiled,
    sparse: Sequence[tuple[float, Compiled]],
    *,
    tokens: int,
    threads: int,
    effort: Effort,
    budget: float,
    progress: Progress,
) -> list[Cell]:
    """Time one picture size and batch: the dense model and all keep rates in turn."""
    models = [dense, *(model for _, model in sparse)]
    effort, taken = _sit_all(models, threads, effort, budget, progress)
    batch, _, image_size, _ = dense.shape
    return [
        _cell(
            (image_size, tokens, batch, keep),
            samples.samples,
            taken[0].samples,
            model.flops / dense.flops,
            effort,
        )
        for (keep, model), samples in zip(sparse, taken[1:], strict=True)
    ]


def _cell(
    place: tuple[int, int, int, float],
    ours: list[float],
    theirs: list[float],
    flop_ratio: float,
    effort: Effort,
) -> Cell:
    low, high = ratio_interval(ours, theirs, block=effort.burst, sittings=effort.sittings)
    return Cell(
        *place,
        sparse_ms=round(percentile(ours, 50), 4),
        dense_ms=round(percentile(theirs, 50), 4),
        latency_ratio=round(ratio_of_medians(ours, theirs), 4),
        interval=(round(low, 4), round(high, 4)),
        flop_ratio=round(flop_ratio, 4),
    )


def _sit_all(
    models: Sequence[Compiled], threads: int, effort: Effort, budget: float, progress: Progress
) -> tuple[Effort, list[Taken]]:
    """The effort that fits the budget, and the samples of all sittings."""
    factory = f"{__name__}:from_files"
    requests = [
        Request(str(index), factory, Files(str(model.folder), ""), threads, model.shape)
        for index, model in enumerate(models)
    ]
    whole = [Taken() for _ in models]
    for sitting in range(effort.sittings):
        with processes(requests) as started:
            for process in started:
                process.warm_up(effort.warmup)
            if not sitting:
                effort = effort.within(budget, sum(process.call for process in started))
            for kept, part in zip(whole, measure(started, effort, progress.advance), strict=True):
                kept.samples += part.samples
    return effort, whole


def crossing(points: Sequence[tuple[float, float]]) -> float | None:
    """Where the ratio first falls below 1, between two points (x, ratio) or at one of them.

    The points come in the direction in which the model gets sparser or larger. None if the ratio
    stays at or above 1; the first x if it is below 1 from the start.
    """
    before: tuple[float, float] | None = None
    for x, ratio in points:
        if ratio < 1:
            if before is None:
                return x
            share = (before[1] - 1) / (before[1] - ratio)
            return round(before[0] + share * (x - before[0]), 4)
        before = (x, ratio)
    return None


def crossovers(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Per size and batch the highest keep rate that pays, per keep rate and batch the fewest
    tokens; None where nothing that was measured pays."""
    found = []
    for size, tokens, batch in _distinct(cells, lambda c: (c.image_size, c.tokens, c.batch)):
        points = [
            (c.keep, c.latency_ratio) for c in cells if (c.image_size, c.batch) == (size, batch)
        ]
        keep = crossing(sorted(points, reverse=True))
        found.append({"image_size": size, "tokens": tokens, "batch": batch, "pays_from_keep": keep})
    for keep, batch in _distinct(cells, lambda c: (c.keep, c.batch)):
        points = [
            (float(c.tokens), c.latency_ratio) for c in cells if (c.keep, c.batch) == (keep, batch)
        ]
        if len(points) > 1:
            pays = crossing(sorted(points))
            found.append({"keep": keep, "batch": batch, "pays_from_tokens": pays})
    return found


def _distinct(
    cells: Sequence[Cell], key: Callable[[Cell], tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    return list(dict.fromkeys(key(cell) for cell in cells))
