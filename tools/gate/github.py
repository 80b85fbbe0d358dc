"""What GitHub reads: workflow annotations, and the JSON of github-action-benchmark."""

from __future__ import annotations

from typing import Any

from attnc.tools.gate.report import CaseReport, GateReport, unit_of
from attnc.tools.gate.words import bounds, sentence

_LEVELS = {"failed": "error", "no-verdict": "warning", "not-confirmed": "notice"}


def workflow_commands(report: GateReport) -> list[str]:
    """One line for each verdict that is not a plain pass, at the case's line of the budget file.

    No verdict is a warning (the exit code stops the job); what was skipped is a notice.
    """
    lines = {case.name: case.line for case in report.cases}
    found = []
    for result in report.results:
        level = _LEVELS.get(result.status)
        if level is None:
            continue
        title = _property(f"attnc gate: {result.case}: {result.metric}")
        place = f"file={_property(report.budget)},line={lines[result.case]}"
        found.append(f"::{level} {place},title={title}::{_message(sentence(result))}")
    if report.baseline.reason and report.baseline.file:
        place = f"file={_property(report.baseline.file)}"
        found.append(f"::notice {place},title=attnc gate::{_message(report.baseline.reason)}")
    return found


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def benchmark_entries(report: GateReport) -> list[dict[str, Any]]:
    """Entries for its tool `customSmallerIsBetter`; the fused share as what is not fused."""
    return [entry for case in report.cases for entry in _entries(case)]


def _entries(case: CaseReport) -> list[dict[str, Any]]:
    found = []
    for name, value in case.values.items():
        if name in ("top1", "top5"):
            continue
        label, shown = name, value
        if name == "fused_share":
            label, shown = "unfused_share", round(1 - value, 6)
        entry: dict[str, Any] = {
            "name": f"{case.name}: {label}",
            "unit": unit_of(name) or ("x" if "ratio" in name else "1"),
            "value": shown,
        }
        if name in case.intervals:
            low, high = case.intervals[name]
            entry["range"] = f"± {(high - low) / 2:.3g}"
            entry["extra"] = f"95 % interval {bounds((low, high))}, {case.sittings} sittings"
        found.append(entry)
    return found
