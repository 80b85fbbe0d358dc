"""`attnc bench` of a TensorRT bundle: our engine against the plain export's, on the GPU."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import TensorrtEntry
from attnc.compiler.progress import Progress

if TYPE_CHECKING:
    from attnc.runtimes.measure import Effort
    from attnc.runtimes.tensorrt.gpu import Host
    from attnc.runtimes.tensorrt.gpu_bench import Candidate, Setting

#: The one competitor: the same TensorRT on the plain export.
PLAIN = "plain"
#: Samples in a turn where nobody asks for another number; they are short.
BURST = 25
COLUMNS = ["runner", "mode", "batch", "median ms", "p90", "p99", "n", "pictures/s", "ours / theirs"]


def report_gpu(
    bundle: Bundle, batches: tuple[int, ...], effort: Effort, progress: Progress
) -> dict[str, Any]:
    """The report of the benchmark.

    Raises MissingRuntimeError without a GPU or TensorRT, UsageError for a batch that the engine
    does not take, UnsupportedError with TensorRT's words if it builds one of the engines not.
    """
    from attnc.runtimes.tensorrt.gpu import host_of, require_gpu
    from attnc.runtimes.tensorrt.gpu_bench import (
        SAME_CHOOSING_MODEL,
        SAME_MODEL,
        run_gpu_bench,
    )
    from attnc.runtimes.tolerance import is_discontinuous

    entry = _entry(bundle)
    require_gpu(entry, "the benchmark of a TensorRT bundle")
    _check_batches(bundle, batches)
    precision = bundle.manifest.precision
    same = SAME_CHOOSING_MODEL if is_discontinuous(bundle) else SAME_MODEL[precision]
    host = host_of(entry)
    with TemporaryDirectory(prefix="attnc-bench-") as place:
        works = Engines(bundle, host, Path(place), progress)
        settings = [works.at(batch) for batch in batches]
        report = run_gpu_bench(host, settings, effort, same, progress)
    return {"model": bundle.manifest.model, "precision": precision, **report}


def _entry(bundle: Bundle) -> TensorrtEntry:
    entry = bundle.manifest.tensorrt
    if entry is None:
        raise UsageError("the manifest names no TensorRT runtime", where=str(bundle.path))
    return entry


def _check_batches(bundle: Bundle, batches: tuple[int, ...]) -> None:
    from attnc.runtimes.tensorrt.engine import DYNAMIC_BATCH

    most = DYNAMIC_BATCH[-1]
    if bundle.manifest.batch == "dynamic" and max(batches) > most:
        raise UsageError(
            f"--batch {max(batches)}: engines with a free batch take at most {most} pictures",
            remedy="export the bundle with --batch and that number",
        )


class Engines:
    """Builds both engines of a batch size on the GPU that is here; those of a free batch once."""

    def __init__(self, bundle: Bundle, host: Host, folder: Path, progress: Progress) -> None:
        self.bundle, self.host, self.folder, self.progress = bundle, host, folder, progress
        self._built: dict[object, tuple[Candidate, ...]] = {}

    def at(self, batch: int) -> Setting:
        """The engines of a batch size. Raises what the export and TensorRT raise."""
        from attnc.runtimes.tensorrt.gpu_bench import Setting

        own = self.bundle.manifest.batch
        key = own if own == "dynamic" else batch
        if key not in self._built:
            bundle = self.bundle if own in ("dynamic", batch) else self._exported(batch)
            folder = self.folder / f"engines-{key}"
            folder.mkdir()
            self._built[key] = self._build(bundle, folder)
        sizes = self.bundle.manifest.inputs[0].shape[1:]
        return Setting(batch, (batch, *map(int, sizes)), self._built[key])

    def _build(self, bundle: Bundle, folder: Path) -> tuple[Candidate, ...]:
        from attnc.compiler.cli.plain import write_plain
        from attnc.runtimes.tensorrt.engine import DYNAMIC_BATCH
        from attnc.runtimes.tensorrt.gpu import build_on_device
        from attnc.runtimes.tensorrt.gpu_bench import Candidate

        plugin = bundle.path / "plugin.py"
        batch = DYNAMIC_BATCH if bundle.manifest.batch == "dynamic" else None
        self.progress.stage(f"building our engine (batch {bundle.manifest.batch})")
        build_on_device(self.host, bundle.model_path, folder / "ours.plan", plugin, batch)
        self.progress.stage(f"building the plain export's engine (batch {bundle.manifest.batch})")
        plain = write_plain(bundle, folder)
        build_on_device(self.host, plain, folder / "plain.plan", None, batch)
        return (
            Candidate("attnc", folder / "ours.plan", plugin),
            Candidate(PLAIN, folder / "plain.plan"),
        )

    def _exported(self, batch: int) -> Bundle:
        from attnc.compiler.cli.api import export
        from attnc.compiler.source import trace_options

        manifest, options = self.bundle.manifest, trace_options(self.bundle)
        self.progress.stage(
            f"exporting for batch {batch}: the bundle has batch {manifest.batch}, the benchmark "
            "needs another"
        )
        return export(
            options.pop("source"),
            **options,
            batch=batch,
            output=self.folder / f"batch{batch}",
            target=manifest.target,
            profile=manifest.profile,
            precision=manifest.precision,
            kernels=bool(_entry(self.bundle).plugins),
        )


def gpu_rows(report: dict[str, Any]) -> list[list[str]]:
    """The table for people."""
    return [
        [
            row["runner"],
            row["mode"],
            str(row["batch"]),
            f"{row['median_ms']:.4f}",
            f"{row['p90_ms']:.4f}",
            f"{row['p99_ms']:.4f}",
            str(row["n"]),
            f"{row['pictures_per_second']:.0f}",
            _ratio(row),
        ]
        for row in report["results"]
    ]


def _ratio(row: dict[str, Any]) -> str:
    if PLAIN not in row["ratio_to"]:
        return ""
    low, high = row["ratio_interval"][PLAIN]
    return f"{row['ratio_to'][PLAIN]:.3f} [{low:.3f}, {high:.3f}]"
