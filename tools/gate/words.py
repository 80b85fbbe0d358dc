"""A verdict in words, the same in every output."""

from __future__ import annotations

from attnc.tools.gate.report import GateReport, Pair, Result

_SUMMARY = {
    "passed": "passed",
    "failed": "FAILED",
    "no-verdict": "NO VERDICT: the machine is too noisy, this is not a pass",
}


def sentence(result: Result) -> str:
    """`p99_ms 4.2 ms [3.9, 4.6], limit 4: over the limit, and a second run confirms it`."""
    parts = [result.metric]
    if result.value is not None:
        parts.append(number(result.value, result.unit))
    if result.interval is not None:
        parts.append(bounds(result.interval))
    text = " ".join(parts)
    if result.limit is not None:
        word = "baseline" if result.kind == "baseline" and result.unit != "x baseline" else "limit"
        text += f", {word} {number(result.limit, result.unit)}"
    if result.confirmation is not None and result.confirmation_interval is not None:
        again = number(result.confirmation, result.unit)
        text += f", second run {again} {bounds(result.confirmation_interval)}"
    return f"{text}: {result.reason}" if result.reason else text


def number(value: float, unit: str = "") -> str:
    """Whole counters whole, the rest with four digits."""
    text = f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"
    return f"{text} {unit}" if unit else text


def bounds(interval: Pair) -> str:
    """`[0.98, 1.02]`."""
    return f"[{interval[0]:.4g}, {interval[1]:.4g}]"


def summary(report: GateReport) -> str:
    """One line: the verdict, how many of each, how long it took."""
    counts = {
        status: sum(result.status == status for result in report.results)
        for status in ("passed", "failed", "not-confirmed", "no-verdict", "skipped")
    }
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{_SUMMARY[report.verdict]} ({told or 'nothing was asked'}; {report.seconds:.0f} s)"
