"""The gate: facts and samples to verdicts, with a second run for whatever looks worse."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from attnc.compiler.progress import SILENT, Progress
from attnc.tools.gate.baseline import Baseline, CaseRecord, MachineClass, Measured, Record
from attnc.tools.gate.budget import Budgets, Case, Method
from attnc.tools.gate.exact import exact_results
from attnc.tools.gate.facts import Facts
from attnc.tools.gate.history import History
from attnc.tools.gate.lab import Lab
from attnc.tools.gate.questions import (
    budget_questions,
    figures,
    latency_against,
    session_budget_questions,
    session_figures,
    sessions_against,
)
from attnc.tools.gate.report import (
    BaselineUse,
    CaseReport,
    GateReport,
    Result,
    exit_code_of,
    pair,
    rounded,
    timed_result,
    verdict_of,
)
from attnc.tools.gate.sampling import (
    Questions,
    Sitter,
    Tallies,
    Tally,
    judged,
    sample,
    suspects,
)


@dataclass(frozen=True)
class Setting:
    """What a run is told besides the budgets: where they stand, the machine, and the baseline."""

    budget_file: str
    lines: Sequence[int]  # of the cases in that file
    machine: dict[str, Any]
    baseline: Baseline | None = None
    baseline_file: str | None = None
    update: bool = False


def run_gate(
    budgets: Budgets, lab: Lab, setting: Setting, progress: Progress = SILENT
) -> tuple[GateReport, Record]:
    """Measure and judge all cases; returns the report and what a new baseline would hold.

    With `update` the old baseline is not asked, and timed cases get `baseline_sittings`.
    """
    begin = time.monotonic()
    history = History.of(None if setting.update else setting.baseline, setting.machine)
    facts = {case.label: lab.facts(case) for case in budgets.case}
    results = [
        result
        for case in budgets.case
        for result in exact_results(case, facts[case.label], history, budgets.gate)
    ]
    timed, tallies = _timed(budgets, lab.timing(), history, setting, progress)
    started, sessions = _sessions(budgets, lab.sessions(), history, setting, progress)
    results += [*timed, *started]
    if setting.update:
        results += _too_rough(budgets.gate, tallies)
    verdict = verdict_of(results)
    report = GateReport(
        verdict=verdict,
        exit_code=exit_code_of(verdict),
        budget=setting.budget_file,
        measured=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - begin, 1),
        baseline=_use(history, setting),
        machine=setting.machine,
        method=budgets.gate.model_dump(mode="json"),
        cases=_case_reports(budgets.case, setting.lines, facts, tallies, sessions),
        results=_in_order(budgets.case, results),
    )
    return report, _record(budgets, facts, tallies, sessions, report)


def _timed(
    budgets: Budgets, sitter: Sitter, history: History, setting: Setting, progress: Progress
) -> tuple[list[Result], Tallies]:
    """Latency: the cases with a limit on it, and all on a CPU where a baseline is (to be) made."""
    method = budgets.gate
    relative = "latency" in method.relative
    questions: dict[str, list[Any]] = {}
    for case in budgets.case:
        asked = budget_questions(case.limits, method)
        before = history.timing(case, "latency_ratio") if relative else None
        if before is not None:
            asked.append(latency_against(before, method))
        if asked or (setting.update and relative and case.target == "cpu"):
            questions[case.label] = asked
    skipped = history.skipped(budgets.case, "latency", "latency_ratio") if relative else []
    fixed = method.baseline_sittings if setting.update else None
    results, tallies = _judge(sitter, questions, method, fixed, progress)
    return [*skipped, *results], tallies


def _sessions(
    budgets: Budgets, sitter: Sitter, history: History, setting: Setting, progress: Progress
) -> tuple[list[Result], Tallies]:
    """Start-up and memory: the cases with a limit on them, or all where the file wants them."""
    method = budgets.gate
    wanted = {"start_up", "peak"} & set(method.relative)
    questions: dict[str, list[Any]] = {}
    for case in budgets.case:
        asked = session_budget_questions(case.limits, method)
        asked += sessions_against(partial(history.timing, case), method)
        if asked or (setting.update and wanted and case.target == "cpu"):
            questions[case.label] = asked
    repeats = {"sittings": method.repeats, "step": method.repeats, "most": 4 * method.repeats}
    few = method.model_copy(update=repeats)
    fixed = 2 * method.repeats if setting.update else None
    return _judge(sitter, questions, few, fixed, progress)


def _judge(
    sitter: Sitter, questions: Questions, method: Method, fixed: int | None, progress: Progress
) -> tuple[list[Result], Tallies]:
    """First run, second run of what was over, verdicts."""
    if not questions:
        return [], {}
    first = sample(sitter, questions, method, fixed=fixed, progress=progress)
    over = suspects(questions, first)
    if over:
        progress.stage(f"over a limit: {', '.join(over)}; a second run will tell")
    second = sample(sitter, over, method, progress=progress) if over else {}
    results = [
        timed_result(case, question, interval, again)
        for case, asked in questions.items()
        for question, interval, again in judged(asked, first[case], second.get(case))
    ]
    return results, first


def _too_rough(method: Method, tallies: Tallies) -> Iterable[Result]:
    """A baseline whose interval is wider than `rule_out`: later runs would decide nothing."""
    for case, tally in tallies.items():
        found = figures(tally)["latency_ratio"]
        if found.width > method.rule_out:
            yield Result(
                case=case,
                metric="latency",
                kind="baseline",
                status="no-verdict",
                value=rounded(found.value),
                interval=pair(found),
                reason="the machine is too noisy for a baseline: no decision could rest on it",
            )


def _use(history: History, setting: Setting) -> BaselineUse:
    if setting.update:
        return BaselineUse(file=setting.baseline_file, reason="it is being made")
    return BaselineUse(
        file=setting.baseline_file,
        timings=history.timings is not None,
        counters=history.counters is not None,
        reason=history.reason,
    )


def _case_reports(
    cases: Sequence[Case],
    lines: Sequence[int],
    facts: Mapping[str, Facts],
    tallies: Tallies,
    sessions: Tallies,
) -> tuple[CaseReport, ...]:
    found = []
    for case, line in zip(cases, lines, strict=True):
        known = facts[case.label]
        values = {**known.counters, **known.accuracy}
        for name, value in (("parity", known.parity), ("accuracy_drop", known.accuracy_drop)):
            if value is not None:
                values[name] = rounded(value)
        measured = _figures(case.label, tallies, sessions)
        found.append(
            CaseReport(
                name=case.label,
                line=line,
                settings=case.settings(),
                sittings=tallies[case.label].sittings if case.label in tallies else 0,
                values={**values, **{name: rounded(i.value) for name, i in measured.items()}},
                intervals={name: pair(interval) for name, interval in measured.items()},
            )
        )
    return tuple(found)


def _figures(case: str, tallies: Tallies, sessions: Tallies) -> dict[str, Any]:
    timed: Tally | None = tallies.get(case)
    started: Tally | None = sessions.get(case)
    return {
        **(figures(timed) if timed else {}),
        **(session_figures(started) if started else {}),
    }


def _record(
    budgets: Budgets,
    facts: Mapping[str, Facts],
    tallies: Tallies,
    sessions: Tallies,
    report: GateReport,
) -> Record:
    kept = ("latency_ratio", "start_up_ratio", "peak_mb")
    cases = {}
    for case in budgets.case:
        found = _figures(case.label, tallies, sessions)
        cases[case.label] = CaseRecord(
            settings=case.settings(),
            counters=dict(facts[case.label].counters),
            timings={name: Measured.of(found[name]) for name in kept if name in found},
        )
    return Record(
        machine=MachineClass.of(report.machine),
        measured=report.measured,
        sittings=budgets.gate.baseline_sittings,
        cases=cases,
    )


def _in_order(cases: Sequence[Case], results: Sequence[Result]) -> tuple[Result, ...]:
    """By case, as the budget file has them."""
    places = {case.label: number for number, case in enumerate(cases)}
    return tuple(sorted(results, key=lambda result: places[result.case]))
