"""How the latency of a case is compared with the baseline, the best way that is there.

With the very bundle that was measured then, timed in turn with the new one: both suffer alike from
whatever else runs, and nothing that was timed elsewhere is used. Without it, by the stored ratio to
the plain export of the same model; without that, by the ratio to the reference workload.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from attnc.tools.gate.budget import Case, Method
from attnc.tools.gate.history import History
from attnc.tools.gate.questions import TWIN, TWIN_RATIO, latency_against, latency_paired
from attnc.tools.gate.report import Compared, Result, rounded, skipped
from attnc.tools.gate.sampling import REFERENCE, Question

SAME = "the bundle is that of the baseline, byte for byte: there is nothing to measure"
ROUGHER = "latency is compared with stored timings, which is rougher"


@dataclass(frozen=True)
class Pairing:
    """Whether the baseline's bundle can be timed beside the new one: it can, it need not be as it
    is the same, or it cannot for a reason."""

    kind: Literal["paired", "same", "none"]
    reason: str = ""


class Partners(Protocol):
    """What finds something to time beside a bundle: a `Lab`."""

    def pair(self, case: Case, digest: str) -> Pairing:
        """Have the baseline's bundle of this digest sit beside the case's, if it is there."""

    def twin(self, case: Case) -> bool:
        """Have the plain export of the same model sit beside it; False if there cannot be one."""


@dataclass
class Comparisons:
    """By case: the question to ask, or the result where nothing is to be measured."""

    questions: dict[str, Question] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    ways: dict[str, Compared] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)  # why bundles that should be here are not

    @property
    def reason(self) -> str:
        """All reasons in one line, each once."""
        said = "; ".join(dict.fromkeys(self.reasons))
        stored = {"plain export", "reference"} & set(self.ways.values())
        return f"{said}; {ROUGHER}" if said and stored else said


def comparisons(
    cases: Sequence[Case], history: History, partners: Partners, method: Method
) -> Comparisons:
    """What is to be asked of the latency of each case on a CPU; nothing without a baseline."""
    found = Comparisons()
    if "latency" not in method.relative or history.counters is None:
        return found
    for case in cases:
        if case.target == "cpu":
            _compare(found, case, history, partners, method)
    return found


def _compare(
    found: Comparisons, case: Case, history: History, partners: Partners, method: Method
) -> None:
    digest = history.bundle(case)
    pairing = partners.pair(case, digest) if digest else Pairing("none")
    if pairing.reason:
        found.reasons.append(pairing.reason)
    if pairing.kind == "same":
        found.ways[case.label] = "bundle"
        found.results.append(_unchanged(case, method))
    elif pairing.kind == "paired":
        found.ways[case.label] = "bundle"
        found.questions[case.label] = latency_paired(method)
    elif (twin := history.timing(case, TWIN_RATIO)) and partners.twin(case):
        found.ways[case.label] = "plain export"
        found.questions[case.label] = latency_against(TWIN, twin, method)
    elif before := history.timing(case, "latency_ratio"):
        found.ways[case.label] = "reference"
        found.questions[case.label] = latency_against(REFERENCE, before, method)
    else:
        why = history.why_not_timed(case)
        found.results.append(skipped(case.label, "latency", "baseline", why))


def _unchanged(case: Case, method: Method) -> Result:
    return Result(
        case=case.label,
        metric="latency",
        kind="baseline",
        status="passed",
        value=1.0,
        limit=rounded(1 + method.margin),
        unit="x baseline",
        reason=SAME,
    )
