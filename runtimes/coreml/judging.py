"""How a Core ML bundle's evaluations are judged: against the source, by precision.

Float16 rounds everything, so its logits are compared by cosine; what the model chooses by rank may
swap where two scores are closer than rounding, which is looked up and said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attnc.compiler.bundle import Bundle
from attnc.compiler.progress import Progress
from attnc.runtimes.checks import Check
from attnc.runtimes.compare import Comparison, compare
from attnc.runtimes.coreml.cases import Array, Case, Reference
from attnc.runtimes.coreml.evaluator import Evaluator, Watch
from attnc.runtimes.coreml.package import Package
from attnc.runtimes.coreml.program import Operation
from attnc.runtimes.coreml.rankings import Rankings, first_swap
from attnc.runtimes.coreml.stages import Stages, stage_outputs
from attnc.runtimes.limits import limits_of
from attnc.runtimes.proof.blocks import Stage
from attnc.runtimes.proof.outputs import Measured
from attnc.runtimes.reference import half_function
from attnc.runtimes.tolerance import Tolerance, tolerance_of
from attnc.runtimes.verify import closest_classes

if TYPE_CHECKING:
    from torch import nn

#: Where float16 keeps another token than float32, by scores closer than rounding, less than the
#: least cosine proves nothing, and less than this is wrong all the same.
SWAPPED = 0.998
#: Where the model hides what it does not choose: times its source's distance in float16.
TIMES = 2.0
STAGE_COSINE = 0.999
_GRAVITY = ("failed", "not-verified", "verified")
#: A lead of the first class, as a share of the largest logit, that float16 does not tell apart.
NEAR = 1e-3


class Judge:
    """Compares evaluations with the source, by the rules for this bundle."""

    def __init__(
        self,
        bundle: Bundle,
        module: nn.Module | Path | None,
        reference: Reference | None,
        recorded: Sequence[Case],
        live: Sequence[Case],
    ) -> None:
        self.bundle, self.module = bundle, module
        self.cases = (*recorded, *live)
        self._own: float | None = None
        self.rankings: dict[str, Rankings] = {}  # of float32, by case
        self.measured: list[Measured] = []
        pairs = [(case.array, case.expected) for case in recorded]
        self.tolerance: Tolerance = tolerance_of(
            bundle, reference, pairs, [case.array for case in live]
        )

    def parity(
        self,
        package: Package,
        precision: str,
        progress: Progress,
        *,
        top1: bool = True,
        watch: Watch | None = None,
    ) -> list[Check]:
        """One check of all cases together, one of each, and of photographs the first class.

        `watch` sees the operations of the first case.
        """
        progress.stage(f"evaluating the program, {precision}", len(self.cases))
        results, each = [], []
        evaluator = Evaluator(package)
        name = f"mlprogram.parity.{precision}"
        for case in self.cases:
            rankings = Rankings()
            see = _both(rankings, watch if case is self.cases[0] else None)
            output = evaluate(evaluator, case.given, see)
            distance = compare(output, case.expected)
            mode = f"evaluator-{precision}"
            self.measured.append(
                Measured.of(logits_of(package), case.name, mode, output, case.expected)
            )
            if precision == "fp32":
                self.rankings[case.name] = rankings
            each.append(self._check(f"{name}/{case.name}", case, distance, precision, rankings))
            results.append((case, distance))
            progress.advance()
        checks = [_worst(name, each), *each]
        return [*checks, *(self._top1(results, precision) if top1 else ())]

    def _check(
        self, name: str, case: Case, distance: Comparison, precision: str, rankings: Rankings
    ) -> Check:
        if precision == "fp32":
            limit, value = self.tolerance.limit(case.expected), distance.relative
            good, note = value <= limit, self.tolerance.note or "relative error"
        else:
            limit, note = self._least_cosine(precision)
            good, value = distance.cosine >= limit, distance.cosine
        if not np.isfinite(distance.relative):
            return Check(name, "failed", None, limit, "the output holds NaN or infinite values")
        if good:
            return Check(name, "verified", value, limit, note)
        swap = "" if precision == "fp32" else self._near_swap(case, rankings)
        if swap and value >= SWAPPED:
            return Check(name, "not-verified", value, limit, f"{note}; {swap}")
        return Check(name, "failed", value, limit, note)

    def _least_cosine(self, precision: str) -> tuple[float, str]:
        least = limits_of(self.bundle, precision).cosine or 0.0
        if not self.tolerance.discontinuous or self.module is None:
            return least, "cosine"
        own = self._worst_of_source()
        note = f"cosine; the model chooses, and its source in float16 gives {own:.5f}"
        return min(least, 1 - TIMES * (1 - own)), note

    def _near_swap(self, case: Case, rankings: Rankings) -> str:
        """Which near-tie float16 decided otherwise than float32; empty if none explains it."""
        float32 = self.rankings.get(case.name)
        swap = first_swap(float32, rankings) if float32 is not None else None
        if swap is None or not swap.near:
            return ""
        return (
            f"{swap.count} of {swap.chosen} tokens at {swap.operation} are others than in float32, "
            f"their scores within {swap.gap:.1e} of the cut"
        )

    def _worst_of_source(self) -> float:
        """The least cosine of the source in float16 with itself; 1 where it has no float16."""
        if self._own is None:
            self._own, half = 1.0, half_function(self.module)
            try:
                cosines = [_cosine(half, case) for case in self.cases] if half is not None else []
                self._own = min(cosines, default=1.0)
            except RuntimeError:  # float32 is written into its code
                self._own = 1.0
        return self._own

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

    def stages(self, origins: Mapping[str, Any]) -> Stages | None:
        """What watches the first case for the source's stages; None if it has none to watch."""
        if self.module is None or isinstance(self.module, Path) or not self.cases:
            return None
        return Stages(stage_outputs(self.module, self.cases[0].array), origins)


def _cosine(run: Reference, case: Case) -> float:
    return compare(run(case.array), case.expected).cosine


def _both(one: Watch, other: Watch | None) -> Watch:
    if other is None:
        return one

    def watch(operation: Operation, results: tuple[Array, ...]) -> None:
        one(operation, results)
        other(operation, results)

    return watch


def stage_checks(stages: Sequence[Stage] | None) -> list[Check]:
    """Where the program parts from the source: informs, the logits decide.

    One check of each stage that was found, and one line of those that were not.
    """
    if stages is None:
        reason = "the source is no torch module whose stages could be watched"
        return [Check("mlprogram.stages", "not-verified", reason=reason)]
    checks, lost = [], []
    for stage in stages:
        found = stage.metrics
        if found is None or not found.cosine >= STAGE_COSINE:
            lost.append(stage.module)
            continue
        name, note = f"mlprogram.stage/{stage.module}", f"cosine; relative {found.max_relative:.1e}"
        checks.append(Check(name, "verified", found.cosine, STAGE_COSINE, note))
    if lost:
        reason = f"no value is the output of {', '.join(lost)}: fused over its border, or wrong"
        checks.append(Check("mlprogram.stages", "not-verified", reason=reason))
    return checks


def _worst(name: str, checks: Sequence[Check]) -> Check:
    """All cases in one line: one that failed or proves nothing, or the nearest to its limit."""
    if not checks:
        return Check(name, "not-verified", reason="no inputs with known outputs")
    chosen = min(checks, key=lambda check: (_GRAVITY.index(check.status), _margin(check)))
    where = chosen.name.partition("/")[2]
    reason = f"worst of {len(checks)} inputs: {where}; {chosen.reason}"
    return Check(name, chosen.status, chosen.value, chosen.limit, reason)


def _margin(check: Check) -> float:
    """The share of what is allowed that is left: cosines lie over their limit, errors under it."""
    value, limit = check.value or 0.0, check.limit or 0.0
    return (value - limit) / max(1 - limit, 1e-12) if value >= limit else 1 - value / limit


def evaluate(evaluator: Evaluator, given: Any, watch: Watch | None = None) -> Array:
    """The program's logits for a picture or an array."""
    package = evaluator.package
    feature = package.inputs[0]
    if isinstance(given, np.ndarray):
        given = given.astype(np.float16 if feature.dtype == "fp16" else np.float32)
    results = evaluator.run({feature.name: given}, watch)
    return np.asarray(results[logits_of(package)], np.float32)


def logits_of(package: Package) -> str:
    """The name of the logits: the last of its outputs that are tensors."""
    return [feature.name for feature in package.outputs if feature.kind == "tensor"][-1]
