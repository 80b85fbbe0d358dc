"""The verdict of one check, and of all of them: what did not run is never counted as passed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from attnc.runtimes.compare import RELATIVE_LIMIT, Comparison
from attnc.runtimes.proof.blocks import Stage
from attnc.runtimes.proof.outputs import UNITS, Measured

Status = Literal["verified", "failed", "build-only", "not-verified"]


@dataclass(frozen=True)
class Check:
    """One check: `value` was measured, `limit` is what it may be, `reason` says why not."""

    name: str
    status: Status
    value: float | None = None
    limit: float | None = None
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The entry of the report."""
        return {
            "name": self.name,
            "status": self.status,
            "value": self.value,
            "limit": self.limit,
            "reason": self.reason,
        }


@dataclass
class Report:
    """All checks of a bundle, and its outputs and stages in all measures, which inform and decide
    nothing; for TensorRT also the engines that were built, and the plain ones."""

    checks: list[Check] = field(default_factory=list)
    outputs: list[Measured] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    builds: list[dict[str, Any]] = field(default_factory=list)
    baseline: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Something was verified and nothing failed."""
        statuses = {check.status for check in self.checks}
        return "verified" in statuses and "failed" not in statuses

    def as_json(self) -> dict[str, Any]:
        """The JSON document of `attnc verify`."""
        document: dict[str, Any] = {
            "ok": self.ok,
            "checks": [check.as_json() for check in self.checks],
        }
        if self.outputs:
            measured = [one.as_json() for one in self.outputs]
            document |= {"outputs": measured, "output_units": UNITS}
        if self.stages:
            document["stages"] = [stage.as_json() for stage in self.stages]
        engines = {"builds": self.builds, "baseline": self.baseline}
        return document | {name: found for name, found in engines.items() if found}


def parity_check(
    name: str, distance: Comparison, limit: float = RELATIVE_LIMIT, note: str = ""
) -> Check:
    """Relative error against its limit; an output with NaN or infinity has no value and fails.

    `note` says why the limit is what it is.
    """
    if distance.relative == float("inf"):
        return Check(name, "failed", None, limit, "the output holds NaN or infinite values")
    if distance.relative <= limit:
        return Check(name, "verified", distance.relative, limit, note)
    reason = "the relative error is over the limit"
    return Check(name, "failed", distance.relative, limit, f"{reason}; {note}" if note else reason)


def top1_check(name: str, distance: Comparison, *, near_tie: bool = False) -> Check:
    """The largest logit is that of the source model, for every picture.

    Where two classes are closer than the tolerance (`near_tie`), another one says nothing.
    """
    if distance.top1 == 1.0:
        return Check(name, "verified", 1.0, 1.0)
    if near_tie:
        reason = "another class comes first, but closer than the tolerance of the logits"
        return Check(name, "not-verified", distance.top1, 1.0, reason)
    return Check(name, "failed", distance.top1, 1.0, "another class comes first")
