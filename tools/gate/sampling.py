"""Questions about latency, and sittings that go on until each of them is decided.

What takes the samples is a `Sitter`: real processes, a simulation, or a test's list of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from attnc.compiler.progress import SILENT, Progress
from attnc.tools.gate.budget import Method
from attnc.tools.gate.intervals import Interval, Series, Turns

OURS, REFERENCE = "attnc", "reference"
BASELINE = "baseline"  # the bundle that a baseline was made of
#: "over": all of the interval lies above the limit; "within": all below; "open": neither.
Answer = Literal["over", "within", "open"]


@dataclass
class Tally:
    """What was sampled of one case: a series per runner, all of the same sittings."""

    series: dict[str, Series] = field(default_factory=dict)

    def add(self, sitting: Mapping[str, Turns]) -> None:
        """One sitting more."""
        for runner, turns in sitting.items():
            self.series.setdefault(runner, Series()).add(turns)

    @property
    def sittings(self) -> int:
        """How many there were."""
        return next((len(series.sittings) for series in self.series.values()), 0)


class Sitter(Protocol):
    """Starts everything anew and lets each runner take its turns."""

    def sit(self, cases: Sequence[str]) -> Mapping[str, Mapping[str, Turns]]:
        """The turns by case and runner (`attnc`, `baseline`, `reference`, peers) of one sitting."""


@dataclass(frozen=True)
class Question:
    """Is a figure of a case over its limit?

    It is if its interval lies above `limit`; it is not if the interval lies below `clear`, which is
    a little more than the limit: what lies at the limit could never be told from it.
    """

    metric: str
    kind: Literal["budget", "baseline"]
    limit: float
    clear: float
    unit: str
    measure: Callable[[Tally], Interval]

    def answer(self, interval: Interval) -> Answer:
        """What an interval says."""
        if interval.low > self.limit:
            return "over"
        return "within" if interval.high < self.clear else "open"


Questions = Mapping[str, Sequence[Question]]
Tallies = dict[str, Tally]


def sample(
    sitter: Sitter,
    questions: Questions,
    method: Method,
    *,
    fixed: int | None = None,
    progress: Progress = SILENT,
) -> Tallies:
    """Sittings until all questions of each case have an answer, or `most` were held.

    A case whose questions are answered sits no more. `fixed` holds exactly that many sittings.
    """
    tallies: Tallies = {case: Tally() for case in questions}
    waiting = list(questions)
    most = fixed or method.most
    target = fixed or method.sittings
    while waiting and target <= most:
        progress.stage(f"sittings up to {target} of at most {most}: {len(waiting)} case(s)")
        while tallies[waiting[0]].sittings < target:
            for case, sitting in sitter.sit(waiting).items():
                tallies[case].add(sitting)
        waiting = [case for case in waiting if still_open(questions[case], tallies[case])]
        target = min(target + method.step, most) if target < most else most + 1
    return tallies


def still_open(questions: Sequence[Question], tally: Tally) -> bool:
    """Whether a question has no answer yet."""
    return any(q.answer(q.measure(tally)) == "open" for q in questions)


def judged(
    questions: Sequence[Question], first: Tally, second: Tally | None
) -> list[tuple[Question, Interval, Interval | None]]:
    """Each question with its interval and, where it was over, that of the second run."""
    found: list[tuple[Question, Interval, Interval | None]] = []
    for question in questions:
        interval = question.measure(first)
        again = None
        if second is not None and question.answer(interval) == "over":
            again = question.measure(second)
        found.append((question, interval, again))
    return found


def suspects(questions: Questions, tallies: Tallies) -> dict[str, list[Question]]:
    """The questions that are over, by case; cases without any are left out."""
    found = {
        case: [q for q in asked if q.answer(q.measure(tallies[case])) == "over"]
        for case, asked in questions.items()
    }
    return {case: asked for case, asked in found.items() if asked}
