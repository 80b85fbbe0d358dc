"""The gate's verdicts and its report, as pydantic models: the JSON that machines read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

from pydantic import Field

from attnc.compiler.errors import ExitCode
from attnc.compiler.manifest_parts import Part
from attnc.tools.gate.intervals import Interval
from attnc.tools.gate.sampling import Question

FORMAT: Final = "attnc-gate-report"
VERSION = 2
#: "not-confirmed": over in the first run, not in the second; it counts as passed and is told.
Status = Literal["passed", "failed", "not-confirmed", "no-verdict", "skipped"]
Verdict = Literal["passed", "failed", "no-verdict"]
#: By what latency was compared: the baseline's bundle in the same sittings, or a stored ratio.
Compared = Literal["bundle", "plain export", "reference"]
Pair = tuple[float, float]


class Result(Part):
    """One limit (`kind` budget) or one comparison with the baseline, and what came of it."""

    case: str
    metric: str
    kind: Literal["budget", "baseline"]
    status: Status
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    interval: Pair | None = None
    confirmation: float | None = None
    confirmation_interval: Pair | None = None
    reason: str = ""


class CaseReport(Part):
    """What was found of one case: `line` is where the budget file has it."""

    name: str
    line: int
    settings: dict[str, Any]
    sittings: int
    compared: Compared | None = None
    values: dict[str, float]
    intervals: dict[str, Pair]


class BaselineUse(Part):
    """Whether a baseline was there, and whether its timings were of use; else the reason."""

    file: str | None = None
    timings: bool = False
    counters: bool = False
    reason: str = ""


class GateReport(Part):
    """The whole run."""

    format: Literal["attnc-gate-report"] = FORMAT
    version: int = VERSION
    verdict: Verdict
    exit_code: int
    budget: str
    measured: str
    seconds: float
    baseline: BaselineUse
    machine: dict[str, Any]
    method: dict[str, Any]
    cases: tuple[CaseReport, ...]
    results: tuple[Result, ...] = Field(default=())

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return self.model_dump(mode="json")


def json_schema() -> dict[str, Any]:
    """The JSON schema of the report."""
    return GateReport.model_json_schema()


def verdict_of(results: Iterable[Result]) -> Verdict:
    """Failed if anything failed, else no verdict if anything has none, else passed."""
    statuses = {result.status for result in results}
    if "failed" in statuses:
        return "failed"
    return "no-verdict" if "no-verdict" in statuses else "passed"


def exit_code_of(verdict: Verdict) -> ExitCode:
    """0, 1 or 5."""
    codes: dict[str, ExitCode] = {
        "failed": ExitCode.CHECK_FAILED,
        "no-verdict": ExitCode.NO_VERDICT,
    }
    return codes.get(verdict, ExitCode.OK)


def timed_result(
    case: str, question: Question, interval: Interval, again: Interval | None
) -> Result:
    """The verdict on a timed figure: over counts only if a second, independent run says so too."""
    status, reason = _timed_verdict(question, interval, again)
    return Result(
        case=case,
        metric=question.metric,
        kind=question.kind,
        status=status,
        value=rounded(interval.value),
        limit=rounded(question.limit),
        unit=question.unit,
        interval=pair(interval),
        confirmation=None if again is None else rounded(again.value),
        confirmation_interval=None if again is None else pair(again),
        reason=reason,
    )


def _timed_verdict(
    question: Question, interval: Interval, again: Interval | None
) -> tuple[Status, str]:
    answer = question.answer(interval)
    if answer == "within":
        return "passed", ""
    if answer == "open":
        return "no-verdict", (
            "the machine is too noisy: the interval goes from below the limit to more than "
            f"{question.clear:.4g}"
        )
    if again is None:
        return "no-verdict", "over the limit, but there was no second run to confirm it"
    second = question.answer(again)
    if second == "over":
        return "failed", "over the limit, and a second run confirms it"
    if second == "within":
        return "not-confirmed", "over the limit in the first run, not in the second"
    return "no-verdict", "over the limit in the first run; the second was too noisy to tell"


def exact_result(
    case: str, metric: str, kind: Literal["budget", "baseline"], value: float, limit: float
) -> Result:
    """The verdict on a figure that does not vary; `fused_share` is the only lower bound."""
    least = metric == "fused_share"
    wrong = value < limit if least else value > limit
    change = value - limit
    reason = ""
    if wrong:
        reason = f"{change:+g} against {'the baseline' if kind == 'baseline' else 'the limit'}"
    elif kind == "baseline" and change:
        reason = f"better than the baseline by {abs(change):g}: renew it with --update-baseline"
    status: Status = "failed" if wrong else "passed"
    return Result(
        case=case,
        metric=metric,
        kind=kind,
        status=status,
        value=value,
        limit=limit,
        unit=unit_of(metric),
        reason=reason,
    )


def skipped(case: str, metric: str, kind: Literal["budget", "baseline"], reason: str) -> Result:
    """What was not compared, and why."""
    return Result(case=case, metric=metric, kind=kind, status="skipped", reason=reason)


def unit_of(metric: str) -> str:
    """The unit of a figure's name."""
    ends = {"_ms": "ms", "_mb": "MB", "_bytes": "bytes"}
    return next((unit for end, unit in ends.items() if metric.endswith(end)), "")


def pair(interval: Interval) -> Pair:
    """The bounds, rounded."""
    return rounded(interval.low), rounded(interval.high)


def rounded(value: float) -> float:
    """Five significant digits."""
    return float(f"{value:.5g}")
