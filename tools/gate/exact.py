"""Verdicts on what does not vary: counters, parity, accuracy."""

from __future__ import annotations

from collections.abc import Iterator

from attnc.compiler.errors import UsageError
from attnc.tools.gate.budget import COUNTERS, Case, Method
from attnc.tools.gate.facts import Facts
from attnc.tools.gate.history import History
from attnc.tools.gate.report import Result, exact_result, rounded, skipped

ALL = (*COUNTERS, "fused_share")


def exact_results(case: Case, facts: Facts, history: History, method: Method) -> Iterator[Result]:
    """One for each limit that is set, and one for each counter that the baseline has."""
    yield from _budgets(case, facts)
    if case.limits.parity is not None:
        yield _parity(case, facts, case.limits.parity)
    if case.limits.accuracy_drop is not None:
        yield _accuracy(case, facts, case.limits.accuracy_drop)
    if history.counters is not None and "counters" in method.relative:
        yield from _against(case, facts, history, method)


def _budgets(case: Case, facts: Facts) -> Iterator[Result]:
    for name in ALL:
        limit = getattr(case.limits, name)
        if limit is None:
            continue
        if name not in facts.counters:
            raise UsageError(
                f"{case.label}: limits.{name}: bundles for {case.target} have no such counter "
                "here, or not at these sizes",
                remedy=f"there are {', '.join(sorted(facts.counters))}",
            )
        yield exact_result(case.label, name, "budget", facts.counters[name], limit)


def _parity(case: Case, facts: Facts, limit: float) -> Result:
    """A check of `attnc verify` that failed fails here, whatever the limit."""
    if facts.parity is None:
        reason = facts.wrong or "no check of parity could run"
        found = skipped(case.label, "parity", "budget", reason)
        return found.model_copy(update={"status": "failed", "limit": limit})
    result = exact_result(case.label, "parity", "budget", rounded(facts.parity), limit)
    if facts.wrong:
        return result.model_copy(update={"status": "failed", "reason": facts.wrong})
    return result


def _accuracy(case: Case, facts: Facts, limit: float) -> Result:
    if facts.accuracy_drop is None:
        reason = facts.note or "the source is not here to compare"
        found = skipped(case.label, "accuracy_drop", "budget", reason)
        return found.model_copy(update={"status": "failed", "limit": limit})
    drop = rounded(facts.accuracy_drop)
    result = exact_result(case.label, "accuracy_drop", "budget", drop, limit)
    reason = "; ".join(filter(None, (result.reason, facts.note)))
    return result.model_copy(update={"interval": facts.drop_interval, "reason": reason})


def _against(case: Case, facts: Facts, history: History, method: Method) -> Iterator[Result]:
    before = history.counted(case)
    if isinstance(before, str):
        yield skipped(case.label, "counters", "baseline", before)
        return
    growth = {str(name): share for name, share in method.allow.items()}
    for name in ALL:
        if name in before and name in facts.counters:
            allowed = before[name] * (1 + growth.get(name, 0.0))
            result = exact_result(case.label, name, "baseline", facts.counters[name], before[name])
            if result.status == "failed" and name != "fused_share":
                grown_within = facts.counters[name] <= allowed
                update = {"status": "passed", "reason": f"{result.reason}, which is allowed"}
                result = result.model_copy(update=update) if grown_within else result
            yield result
