"""Is a Core ML bundle right: its saved package, evaluated by the meaning of its operations.

On macOS Core ML itself runs as well; elsewhere the report says that it did not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError, UsageError
from attnc.compiler.progress import SILENT, Progress
from attnc.runtimes.checks import Check, Report
from attnc.runtimes.coreml.cases import live_cases, recorded_cases
from attnc.runtimes.coreml.device_checks import DeviceCase
from attnc.runtimes.coreml.device_report import device_checks
from attnc.runtimes.coreml.judging import Judge, stage_checks
from attnc.runtimes.coreml.origins import FILE_NAME as ORIGINS
from attnc.runtimes.coreml.origins import read_origins
from attnc.runtimes.coreml.package import Package, open_package
from attnc.runtimes.coreml.placement import counts, lint
from attnc.runtimes.limits import limits_of
from attnc.runtimes.reference import reference_function

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Source:
    """`module` rebuilds the source, `twin` lowers it again in float32 into a folder and returns the
    package; both raise AttncError where the source is not to be had."""

    module: Callable[[], nn.Module | Path]
    twin: Callable[[Path], Path]


def verify_coreml(
    bundle: Bundle, source: Source, images: Path | None = None, progress: Progress = SILENT
) -> Report:
    """Check an opened bundle. Raises UsageError if `images` holds no pictures or the package is
    damaged."""
    entry = bundle.manifest.coreml
    if entry is None:
        raise UsageError("the manifest names no Core ML package", where=str(bundle.path))
    report = Report()
    path = bundle.path / entry.package
    package = open_package(path)
    report.checks += _package_checks(bundle, package)
    progress.stage("rebuilding the source model")
    module = _module(source, report)
    recorded = list(recorded_cases(bundle))
    reference = None if module is None else reference_function(module)
    allowed = package.inputs[0].allowed
    live = []
    if reference is not None:
        live = list(live_cases(bundle, reference, images, report, allowed))
    judge = Judge(bundle, module, reference, recorded, live)
    precision = bundle.manifest.precision
    half = precision != "fp32"
    twin = _twin_parity(judge, source, progress) if half else []
    stages = judge.stages(read_origins(bundle.path / ORIGINS))
    report.checks += judge.parity(package, precision, progress, watch=stages)
    report.checks += twin
    compared = None if stages is None else stages.compared()
    report.checks += stage_checks(compared)
    report.stages += compared or []
    progress.stage("Core ML itself")
    given = [DeviceCase(c.name, c.given, c.expected, c.photo) for c in judge.cases]
    allowed_half = limits_of(bundle).relative
    limit = (lambda expected: allowed_half) if half else judge.tolerance.limit
    report.checks += device_checks(
        path, given, limit, judge.tolerance.note, progress, judge.measured
    )
    report.outputs += judge.measured
    return report


def _module(source: Source, report: Report) -> nn.Module | Path | None:
    try:
        return source.module()
    except AttncError as error:
        reason = f"the source is not rebuilt: {error.message}"
        report.checks.append(Check("source", "not-verified", reason=reason))
        return None


def _package_checks(bundle: Bundle, package: Package) -> list[Check]:
    """The package is the one that the manifest describes."""
    entry, digest = bundle.manifest.coreml, bundle.manifest.contents_digest()
    assert entry is not None
    same = package.metadata.get("attnc.manifest") == digest
    placed = counts(lint(package, {}))
    return [
        _equal("mlprogram.manifest", same, "the package was made for another manifest"),
        _equal("mlprogram.placement", placed == entry.placement, "the lint finds other counts"),
    ]


def _equal(name: str, same: bool, reason: str) -> Check:
    return Check(name, "verified" if same else "failed", reason="" if same else reason)


def _twin_parity(judge: Judge, source: Source, progress: Progress) -> list[Check]:
    """The same lowering in float32: what is wrong there is no matter of precision."""
    with TemporaryDirectory(prefix="attnc-twin-") as folder:
        progress.stage("lowering once more in float32")
        try:
            package = open_package(source.twin(Path(folder)))
        except AttncError as error:
            reason = f"not lowered again: {error.message}"
            return [Check("mlprogram.parity.fp32", "not-verified", reason=reason)]
        return judge.parity(package, "fp32", progress, top1=False)
