"""Is a Core ML bundle right: its saved package, evaluated by the meaning of its operations.

On macOS Core ML itself runs as well; elsewhere the report says that it did not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError, UsageError
from attnc.compiler.progress import SILENT, Progress
from attnc.runtimes.checks import Check, Report
from attnc.runtimes.compare import Comparison, compare
from attnc.runtimes.coreml.cases import Array, Case, Reference, live_cases, recorded_cases
from attnc.runtimes.coreml.device_checks import DeviceCase
from attnc.runtimes.coreml.device_report import device_checks
from attnc.runtimes.coreml.evaluator import Evaluator
from attnc.runtimes.coreml.origins import FILE_NAME as ORIGINS
from attnc.runtimes.coreml.origins import read_origins
from attnc.runtimes.coreml.package import Package, open_package
from attnc.runtimes.coreml.placement import counts, lint
from attnc.runtimes.coreml.stages import Collector, Stage, compare_stages, stage_outputs
from attnc.runtimes.reference import half_function, reference_function
from attnc.runtimes.tolerance import Tolerance, tolerance_of
from attnc.runtimes.verify import closest_classes

if TYPE_CHECKING:
    from torch import nn

#: Least cosine of logits that float16 arithmetic, or weights of so many bits, may give.
COSINES = {"fp16": 0.9999, "int8w": 0.999, "pal8w": 0.999, "pal6w": 0.99, "pal4w": 0.9}
#: Where the model chooses: times the distance that its source in float16 is from itself.
TIMES = 2.0
STAGE_COSINE = 0.999
#: max |a - b| / max |b| of logits that a device may compute in float16.
DEVICE_LIMIT = 2e-2
#: A lead of the first class, as a share of the largest logit, that float16 does not tell apart.
NEAR = 1e-3


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
    cases = list(recorded_cases(bundle))
    reference = None if module is None else reference_function(module)
    live = [] if reference is None else list(live_cases(bundle, reference, images, report))
    judge = _Judge(bundle, module, reference, cases, live)
    cases += live
    report.checks += judge.parity(package, cases, bundle.manifest.precision, progress)
    if bundle.manifest.precision != "fp32":
        report.checks += _twin_parity(judge, source, cases, progress)
    report.checks += judge.stages(package, read_origins(bundle.path / ORIGINS), cases)
    progress.stage("Core ML itself")
    given = [DeviceCase(c.name, c.given, c.expected, c.photo) for c in cases]
    half = bundle.manifest.precision != "fp32"
    limit = (lambda expected: DEVICE_LIMIT) if half else judge.tolerance.limit
    report.checks += device_checks(path, given, limit, judge.tolerance.note, progress)
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


def _twin_parity(
    judge: _Judge, source: Source, cases: Sequence[Case], progress: Progress
) -> list[Check]:
    """The same lowering in float32: what is wrong there is no matter of precision."""
    with TemporaryDirectory(prefix="attnc-twin-") as folder:
        progress.stage("lowering once more in float32")
        try:
            package = open_package(source.twin(Path(folder)))
        except AttncError as error:
            reason = f"not lowered again: {error.message}"
            return [Check("mlprogram.parity.fp32", "not-verified", reason=reason)]
        return judge.parity(package, cases, "fp32", progress, top1=False)


class _Judge:
    """Compares evaluations with the source, by the rules for this bundle."""

    def __init__(
        self,
        bundle: Bundle,
        module: nn.Module | Path | None,
        reference: Reference | None,
        recorded: Sequence[Case],
        live: Sequence[Case],
    ) -> None:
        self.module = module
        pairs = [(case.array, case.expected) for case in recorded]
        self.tolerance: Tolerance = tolerance_of(
            bundle, reference, pairs, [case.array for case in live]
        )

    def parity(
        self,
        package: Package,
        cases: Sequence[Case],
        precision: str,
        progress: Progress,
        *,
        top1: bool = True,
    ) -> list[Check]:
        """One check of all cases together, one of each, and of photographs the first class."""
        progress.stage(f"evaluating the program, {precision}", len(cases))
        results = []
        for case in cases:
            output = evaluate(package, case.given)
            results.append((case, compare(output, case.expected)))
            progress.advance()
        name = f"mlprogram.parity.{precision}"
        each = [self._check(f"{name}/{case.name}", case, d, precision) for case, d in results]
        checks = [_worst(name, each), *each]
        if top1:
            checks += self._top1(results, precision)
        return checks

    def _check(self, name: str, case: Case, distance: Comparison, precision: str) -> Check:
        if precision == "fp32":
            limit, value = self.tolerance.limit(case.expected), distance.relative
            good, note = value <= limit, self.tolerance.note or "relative error"
        else:
            limit, note = self._least_cosine(case, precision)
            good, value = distance.cosine >= limit, distance.cosine
        if not np.isfinite(distance.relative):
            return Check(name, "failed", None, limit, "the output holds NaN or infinite values")
        return Check(name, "verified" if good else "failed", value, limit, note)

    def _least_cosine(self, case: Case, precision: str) -> tuple[float, str]:
        least = COSINES[precision]
        if not self.tolerance.discontinuous or self.module is None:
            return least, "cosine"
        half = half_function(self.module)
        try:
            own = compare(half(case.array), case.expected).cosine if half else 1.0
        except RuntimeError:  # float32 is written into its code
            return least, "cosine"
        note = f"cosine; the model chooses, and its source in float16 gives {own:.5f}"
        return min(least, 1 - TIMES * (1 - own)), note

    def _top1(self, results: Sequence[tuple[Case, Comparison]], precision: str) -> list[Check]:
        photos = [(case, distance) for case, distance in results if case.photo]
        if not photos:
            reason = "no photographs, or no source to compare with"
            return [Check("mlprogram.top1", "not-verified", reason=reason)]
        wrong = [case.name for case, distance in photos if distance.top1 < 1.0]
        share = 1 - len(wrong) / len(photos)
        if not wrong:
            return [Check("mlprogram.top1", "verified", 1.0, 1.0)]
        lead = min(closest_classes(c.expected) for c, _ in photos if c.name in wrong)
        reason = f"another class comes first on {', '.join(wrong)} (lead {lead:.1e} of the logits)"
        near = self.tolerance.discontinuous or precision in ("pal4w", "pal6w") or lead < NEAR
        return [Check("mlprogram.top1", "not-verified" if near else "failed", share, 1.0, reason)]

    def stages(
        self, package: Package, origins: Mapping[str, Any], cases: Sequence[Case]
    ) -> list[Check]:
        """Where the program parts from the source: informs, the logits decide."""
        if self.module is None or isinstance(self.module, Path) or not cases:
            reason = "the source is no torch module whose stages could be watched"
            return [Check("mlprogram.stages", "not-verified", reason=reason)]
        outputs = stage_outputs(self.module, cases[0].array)
        collected = Collector(outputs, origins)
        evaluate(package, cases[0].given, collected)
        return _stage_checks(compare_stages(outputs, collected))


def _stage_checks(stages: Sequence[Stage]) -> list[Check]:
    """One check of each stage that was found, and one line of those that were not."""
    checks, lost = [], []
    for stage in stages:
        distance = stage.distance
        if distance is None or not distance.cosine >= STAGE_COSINE:
            lost.append(stage.name)
            continue
        name, note = f"mlprogram.stage/{stage.name}", f"cosine; relative {distance.relative:.1e}"
        checks.append(Check(name, "verified", distance.cosine, STAGE_COSINE, note))
    if lost:
        reason = f"no value is the output of {', '.join(lost)}: fused over its border, or wrong"
        checks.append(Check("mlprogram.stages", "not-verified", reason=reason))
    return checks


def _worst(name: str, checks: Sequence[Check]) -> Check:
    """All cases in one line: the first that failed, or the one nearest to its limit."""
    if not checks:
        return Check(name, "not-verified", reason="no inputs with known outputs")
    failed = [check for check in checks if check.status == "failed"]
    parts = failed or sorted(checks, key=_margin)
    chosen = parts[0]
    where = chosen.name.partition("/")[2]
    reason = f"worst of {len(checks)} inputs: {where}; {chosen.reason}"
    return Check(name, chosen.status, chosen.value, chosen.limit, reason)


def _margin(check: Check) -> float:
    """The share of what is allowed that is left: cosines lie over their limit, errors under it."""
    value, limit = check.value or 0.0, check.limit or 0.0
    return (value - limit) / max(1 - limit, 1e-12) if value >= limit else 1 - value / limit


def evaluate(package: Package, given: Any, watch: Any = None) -> Array:
    """The program's logits for a picture or an array."""
    feature = package.inputs[0]
    if isinstance(given, np.ndarray):
        given = given.astype(np.float16 if feature.dtype == "fp16" else np.float32)
    results = Evaluator(package).run({feature.name: given}, watch)
    tensors = [f.name for f in package.outputs if f.kind == "tensor"]
    return np.asarray(results[tensors[-1]], np.float32)
