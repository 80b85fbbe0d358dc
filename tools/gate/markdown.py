"""The report as markdown, for the summary page of a run or a comment on a pull request."""

from __future__ import annotations

from attnc.tools.gate.report import GateReport, Result
from attnc.tools.gate.words import bounds, number, summary

_HEAD = ("case", "metric", "", "value", "interval", "limit", "verdict", "why")
_ORDER = {"failed": 0, "no-verdict": 1, "not-confirmed": 2, "skipped": 3, "passed": 4}


def markdown_text(report: GateReport) -> str:
    """What is not as it should be first; counters that did not change are counted, not listed."""
    quiet = [result for result in report.results if _says_nothing(result)]
    told = sorted(
        (result for result in report.results if not _says_nothing(result)),
        key=lambda result: _ORDER[result.status],
    )
    lines = [f"### attnc gate: {summary(report)}", ""]
    if told:
        lines += [_line(_HEAD), _line(("---",) * len(_HEAD))]
        lines += [_line(_cells(result)) for result in told]
        lines.append("")
    if quiet:
        lines += [f"{len(quiet)} counter(s) are as in the baseline.", ""]
    if report.baseline.reason:
        lines += [_escaped(report.baseline.reason.capitalize()) + ".", ""]
    machine = report.machine
    lines.append(
        f"Measured {report.measured} on {_escaped(str(machine.get('cpu', '')))}, "
        f"{machine.get('cores', '?')} core(s)."
    )
    return "\n".join(lines) + "\n"


def _says_nothing(result: Result) -> bool:
    return result.kind == "baseline" and result.interval is None and result.value == result.limit


def _cells(result: Result) -> tuple[str, ...]:
    value = "" if result.value is None else number(result.value, result.unit)
    limit = "" if result.limit is None else number(result.limit, result.unit)
    interval = "" if result.interval is None else bounds(result.interval)
    status = f"**{result.status}**" if _ORDER[result.status] < 2 else result.status
    cells = (result.case, result.metric, result.kind, value, interval, limit)
    return (*map(_escaped, cells), status, _escaped(result.reason))


def _escaped(text: str) -> str:
    """Text as a cell: nothing in it ends the cell, opens a tag or a link."""
    text = " ".join(text.split())
    for character in ("\\", "|", "`", "*", "_", "<", ">", "[", "]"):
        text = text.replace(character, "\\" + character)
    return text


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"
