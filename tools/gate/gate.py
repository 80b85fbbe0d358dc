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
from attnc.tools.gate.intervals import Interval
from attnc.tools.gate.lab import Lab
from attnc.tools.gate.pairing import Comparisons, comparisons
from attnc.tools.gate.questions import (
    TWIN_RATIO,
    budget_questions,
    figures,
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
    Question,
    Questions,
    Sitter,
    Tallies,
    Tally,
    judged,
    sample,
    suspects,
)

_NO_BASELINE = "the machine is too noisy for a baseline: no decision could rest on it"
_WITHOUT_TIMINGS = (
    "the machine is too noisy for stored timings; later runs need the bundles that are kept"
)


@dataclass(frozen=True)
class Setting:
    """What a run is told besides the budgets: where they stand, the machine, and the baseline.

    `update` makes a new baseline, for which `keeps` says that its bundles will be kept.
    """

    budget_file: str
    lines: Sequence[int]  # of the cases in that file
    machine: dict[str, Any]
    baseline: Baseline | None = None
    baseline_file: str | None = None
    update: bool = False
    keeps: bool = False


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
    compared = comparisons(budgets.case, history, lab, budgets.gate)
    timed, tallies = _timed(budgets, lab, compared, setting, progress)
    started, sessions = _sessions(budgets, lab.sessions(), history, setting, progress)
    results += [*timed, *started]
    if setting.update:
        results += _too_rough(budgets.gate, tallies, setting.keeps)
    verdict = verdict_of(results)
    report = GateReport(
        verdict=verdict,
        exit_code=exit_code_of(verdict),
        budget=setting.budget_file,
        measured=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - begin, 1),
        baseline=_use(history, compared, setting),
        machine=setting.machine,
        method=budgets.gate.model_dump(mode="json"),
        cases=_case_reports(budgets.case, setting.lines, facts, tallies, sessions, compared),
        results=_in_order(budgets.case, results),
    )
    return report, _record(budgets, facts, tallies, sessions, report, setting.keeps)


def _timed(
    budgets: Budgets, lab: Lab, found: Comparisons, setting: Setting, progress: Progress
) -> tuple[list[Result], Tallies]:
    """Latency: the cases with a limit on it, and all on a CPU where a baseline is (to be) made."""
    method = budgets.gate
    questions: dict[str, list[Question]] = {}
    for case in budgets.case:
        asked = budget_questions(case.limits, method)
        if case.label in found.questions:
            asked.append(found.questions[case.label])
        recorded = setting.update and _stores_latency(case, method)
        if recorded:
            lab.twin(case)
        if asked or recorded:
            questions[case.label] = asked
    fixed = method.baseline_sittings if setting.update else None
    results, tallies = _judge(lab.timing(), questions, method, fixed, progress)
    return [*found.results, *results], tallies


def _stores_latency(case: Case, method: Method) -> bool:
    return "latency" in method.relative and case.target == "cpu"


def _sessions(
    budgets: Budgets, sitter: Sitter, history: History, setting: Setting, progress: Progress
) -> tuple[list[Result], Tallies]:
    """Start-up and memory: the cases with a limit on them, or all where the file wants them."""
    method = budgets.gate
    wanted = {"start_up", "peak"} & set(method.relative)
    questions: dict[str, list[Question]] = {}
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


def _too_rough(method: Method, tallies: Tallies, kept: bool) -> Iterable[Result]:
    """Timings whose interval is wider than `rule_out`: later runs would decide nothing by them.

    They make no baseline, unless bundles are kept: then it does without them.
    """
    for case, tally in tallies.items():
        measured = figures(tally)
        if _is_rough(measured, method):
            found = _stored(measured)
            yield Result(
                case=case,
                metric="latency",
                kind="baseline",
                status="skipped" if kept else "no-verdict",
                value=rounded(found.value),
                interval=pair(found),
                reason=_WITHOUT_TIMINGS if kept else _NO_BASELINE,
            )


def _is_rough(measured: Mapping[str, Interval], method: Method) -> bool:
    return "latency_ratio" in measured and _stored(measured).width > method.rule_out


def _stored(measured: Mapping[str, Interval]) -> Interval:
    """What a later run without the bundles is compared with."""
    return measured.get(TWIN_RATIO) or measured["latency_ratio"]


def _use(history: History, found: Comparisons, setting: Setting) -> BaselineUse:
    if setting.update:
        return BaselineUse(file=setting.baseline_file, reason="it is being made")
    paired = "latency is compared with its bundles" if "bundle" in found.ways.values() else ""
    said = (history.reason, paired if history.reason else "", found.reason)
    return BaselineUse(
        file=setting.baseline_file,
        timings=history.timings is not None,
        counters=history.counters is not None,
        reason="; ".join(filter(None, said)),
    )


def _case_reports(
    cases: Sequence[Case],
    lines: Sequence[int],
    facts: Mapping[str, Facts],
    tallies: Tallies,
    sessions: Tallies,
    compared: Comparisons,
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
                compared=compared.ways.get(case.label),
                values={**values, **{name: rounded(i.value) for name, i in measured.items()}},
                intervals={name: pair(interval) for name, interval in measured.items()},
            )
        )
    return tuple(found)


def _figures(case: str, tallies: Tallies, sessions: Tallies) -> dict[str, Interval]:
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
    keeps: bool,
) -> Record:
    method = budgets.gate
    cases = {}
    for case in budgets.case:
        found = _figures(case.label, tallies, sessions)
        names = ["start_up_ratio", "peak_mb"]
        if not (keeps and _is_rough(found, method)):
            names += ["latency_ratio", TWIN_RATIO]
        cases[case.label] = CaseRecord(
            settings=case.settings(),
            counters=dict(facts[case.label].counters),
            timings={name: Measured.of(found[name]) for name in names if name in found},
            bundle=facts[case.label].digest if keeps and _stores_latency(case, method) else None,
        )
    return Record(
        machine=MachineClass.of(report.machine),
        measured=report.measured,
        sittings=method.baseline_sittings,
        cases=cases,
    )


def _in_order(cases: Sequence[Case], results: Sequence[Result]) -> tuple[Result, ...]:
    """By case, as the budget file has them."""
    places = {case.label: number for number, case in enumerate(cases)}
    return tuple(sorted(results, key=lambda result: places[result.case]))
