"""From limits and a baseline to questions about what will be sampled."""

from __future__ import annotations

from collections.abc import Callable

from attnc.tools.gate.budget import Limits, Method
from attnc.tools.gate.intervals import Interval, compared, ratio, tail_latency, typical
from attnc.tools.gate.sampling import BASELINE, OURS, REFERENCE, Question, Tally

Measure = Callable[[Tally], Interval]
#: The peer that runs the plain export of the same model, and what we are to it.
TWIN, TWIN_RATIO = "ort", "ratio_to_ort"
START_UP, START_UP_RATIO, PEAK = "start_up_ms", "start_up_ratio", "peak_mb"


def budget_questions(limits: Limits, method: Method) -> list[Question]:
    """One for each limit on latency that is set."""
    blur = (1 + method.rule_out) / (1 + method.margin)
    found: list[tuple[str, float, str, Measure]] = []
    if limits.latency_ms is not None:
        found.append(("latency_ms", limits.latency_ms, "ms", _latency))
    if limits.p99_ms is not None:
        found.append(("p99_ms", limits.p99_ms, "ms", _tail))
    if limits.latency_ratio is not None:
        found.append(("latency_ratio", limits.latency_ratio, "", ratio_to(REFERENCE)))
    for runner, limit in sorted(limits.ratio_to.items()):
        found.append((f"ratio_to_{runner}", limit, "", ratio_to(runner)))
    return [
        Question(metric, "budget", limit, limit * blur, unit, measure)
        for metric, limit, unit, measure in found
    ]


def latency_against(runner: str, before: Interval, method: Method) -> Question:
    """Is the latency, as a ratio to another runner's, worse than the baseline's ratio?"""
    return _against("latency", ratio_to(runner), before, method.margin, method.rule_out)


def latency_paired(method: Method) -> Question:
    """Is the latency worse than that of the baseline's bundle in the same sittings?"""
    limit, clear = 1 + method.margin, 1 + method.rule_out
    return Question("latency", "baseline", limit, clear, "x baseline", ratio_to(BASELINE))


def session_budget_questions(limits: Limits, method: Method) -> list[Question]:
    """One for each limit on start-up and memory that is set."""
    found = []
    rough = (1 + 2 * method.start_up_margin) / (1 + method.start_up_margin)
    fine = (1 + method.rule_out) / (1 + method.margin)
    for name, limit, blur, unit in (
        (START_UP, limits.start_up_ms, rough, "ms"),
        (PEAK, limits.peak_mb, fine, "MB"),
    ):
        if limit is not None:
            found.append(Question(name, "budget", limit, limit * blur, unit, of_series(name)))
    return found


def sessions_against(before: Callable[[str], Interval | None], method: Method) -> list[Question]:
    """Start-up (as a ratio to the reference's) and memory against the baseline, as wanted."""
    found = []
    rough = method.start_up_margin
    for metric, name, margin, rule_out in (
        ("start_up", START_UP_RATIO, rough, 2 * rough),
        ("peak", PEAK, method.margin, method.rule_out),
    ):
        known = before(name) if metric in method.relative else None
        if known is not None:
            found.append(_against(metric, of_series(name), known, margin, rule_out))
    return found


def _against(
    metric: str, measure: Measure, before: Interval, margin: float, rule_out: float
) -> Question:
    def relative(tally: Tally) -> Interval:
        return compared(measure(tally), before)

    return Question(metric, "baseline", 1 + margin, 1 + rule_out, "x baseline", relative)


def figures(tally: Tally) -> dict[str, Interval]:
    """All that the samples of a case say."""
    peers = [name for name in tally.series if name not in (OURS, REFERENCE)]
    found = {"latency_ms": _latency(tally), "p99_ms": _tail(tally)}
    if REFERENCE in tally.series:
        found["latency_ratio"] = ratio_to(REFERENCE)(tally)
    return found | {f"ratio_to_{name}": ratio_to(name)(tally) for name in peers}


def session_figures(tally: Tally) -> dict[str, Interval]:
    """All that the readings of a case's sessions say."""
    names = (START_UP, START_UP_RATIO, PEAK)
    return {name: of_series(name)(tally) for name in names if name in tally.series}


def ratio_to(runner: str) -> Measure:
    """Our latency divided by that of another runner."""
    return lambda tally: ratio(tally.series[OURS], tally.series[runner])


def of_series(name: str) -> Measure:
    """The typical value of a series."""
    return lambda tally: typical(tally.series[name])


def _latency(tally: Tally) -> Interval:
    return typical(tally.series[OURS])


def _tail(tally: Tally) -> Interval:
    return tail_latency(tally.series[OURS])
