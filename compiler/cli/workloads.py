"""The models that a benchmark times: the bundle, and the plain export of the same source.

A batch size that the bundle does not have is exported for the benchmark, ours and theirs alike,
into a temporary folder that goes away with it.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attnc.compiler.bundle import Bundle
from attnc.compiler.progress import Progress
from attnc.runtimes.registry import Workload


class Workloads:
    """Gives the workload of a batch size; what is exported for it is made once."""

    def __init__(self, bundle: Bundle, progress: Progress) -> None:
        self._bundle, self._progress = bundle, progress
        self._folder = Path(tempfile.mkdtemp(prefix="attnc-bench-"))
        self.at = cache(self._at)
        self._plain = cache(self._export_plain)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _at(self, batch: int) -> Workload:
        own = self._bundle.manifest.batch
        if own in (batch, "dynamic"):
            return Workload(self._bundle, self._bundle, lambda: self._plain(own), self._folder)
        self._progress.stage(
            f"exporting for batch {batch}: the bundle has batch {own}, the benchmark needs another"
        )
        return Workload(self._export(batch), self._bundle, lambda: self._plain(batch), self._folder)

    def _export(self, batch: int) -> Bundle:
        from attnc.compiler.cli.api import export
        from attnc.compiler.source import trace_options

        manifest = self._bundle.manifest
        options = trace_options(self._bundle)
        return export(
            options.pop("source"),
            **options,
            batch=batch,
            output=self._folder / f"batch{batch}",
            target=manifest.target,
            profile=manifest.profile,
            kernels=bool(manifest.kernels),
            formats=[entry.format for entry in manifest.formats],
        )

    def _export_plain(self, batch: Any) -> Path:
        """What ONNX Runtime's users have: the traced model as it is, no pass of ours run."""
        import onnx_ir as ir

        from attnc.compiler.source import trace_options
        from attnc.compiler.trace import trace

        self._progress.stage(f"plain export of the source (batch {batch})")
        options = trace_options(self._bundle)
        traced = trace(options.pop("source"), **options, batch=batch)
        path = self._folder / f"plain-{batch}.onnx"
        ir.save(traced.model, path)
        return path
