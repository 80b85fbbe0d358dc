"""Real sittings: the reference, the bundles and their peers, each in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from attnc.runtimes.bench import check_same_model, same_model_limit
from attnc.runtimes.bench_process import BenchProcess, processes
from attnc.runtimes.measure import Effort, measure
from attnc.runtimes.registry import find_runner
from attnc.runtimes.request import Files, Request
from attnc.tools.gate.budget import Method
from attnc.tools.gate.intervals import Turns
from attnc.tools.gate.reference import SHAPE
from attnc.tools.gate.sampling import OURS, REFERENCE
from attnc.tools.gate.subjects import Subject

#: Cases that sit together: all their processes are in memory at once.
TOGETHER = 6


class ProcessSitter:
    """A `Sitter` for bundles of this machine."""

    def __init__(self, subjects: Sequence[Subject], reference: Path, method: Method) -> None:
        self._subjects = {subject.label: subject for subject in subjects}
        self._reference, self._method = reference, method
        self._efforts: dict[tuple[int, int], Effort] = {}

    def sit(self, cases: Sequence[str]) -> Mapping[str, Mapping[str, Turns]]:
        """One sitting of these cases; those of one thread count share the reference."""
        found: dict[str, Mapping[str, Turns]] = {}
        by_threads: dict[int, list[Subject]] = {}
        for case in cases:
            subject = self._subjects[case]
            by_threads.setdefault(subject.case.threads, []).append(subject)
        for threads, subjects in by_threads.items():
            for begin in range(0, len(subjects), TOGETHER):
                found |= self._sit_together(threads, begin, subjects[begin : begin + TOGETHER])
        return found

    def _sit_together(
        self, threads: int, place: int, subjects: Sequence[Subject]
    ) -> dict[str, Mapping[str, Turns]]:
        wanted = [_requests(subject) for subject in subjects]
        flat = [request for requests in wanted for request in requests]
        with processes([_reference(self._reference, threads), *flat]) as started:
            self._warm_up(subjects, wanted, started)
            effort = self._effort((threads, place), sum(process.call for process in started))
            taken = measure(started, effort)
        turns = [np.asarray(t.samples).reshape(effort.rounds, effort.burst) for t in taken]
        reference, rest = turns[0], iter(turns[1:])
        return {
            subject.label: {
                REFERENCE: reference,
                **{request.name: next(rest) for request in requests},
            }
            for subject, requests in zip(subjects, wanted, strict=True)
        }

    def _warm_up(
        self,
        subjects: Sequence[Subject],
        wanted: Sequence[Sequence[Request]],
        started: Sequence[BenchProcess],
    ) -> None:
        """A few calls of each; a bundle and its peers have to compute the same."""
        calls = Effort().warmup
        started[0].warm_up(calls)
        rest = iter(started[1:])
        for subject, requests in zip(subjects, wanted, strict=True):
            outputs = [next(rest).warm_up(calls) for _ in requests]
            names = [request.name for request in requests]
            check_same_model(names, outputs, same_model_limit(subject.bundle))

    def _effort(self, group: tuple[int, int], call: float) -> Effort:
        """As much per sitting as the budget file says; slow models get fewer samples.

        Settled at the first sitting of a group, so that all its sittings are alike.
        """
        if group not in self._efforts:
            method = self._method
            effort = Effort(method.most, method.rounds, method.burst)
            if method.seconds is not None:
                effort = effort.within(method.seconds, call)
            self._efforts[group] = replace(effort, sittings=1)
        return self._efforts[group]


def _reference(model: Path, threads: int) -> Request:
    factory = find_runner("ort").factory
    return Request(REFERENCE, factory, Files("", "", str(model)), threads, SHAPE)


def _requests(subject: Subject) -> list[Request]:
    """Ours first, then the peers for which there is a limit."""
    entries = [find_runner(name) for name in (OURS, *sorted(subject.case.limits.ratio_to))]
    work = subject.workloads.at(subject.shape[0])
    plain = str(work.plain()) if any(entry.takes_plain for entry in entries) else ""
    files = Files(str(work.bundle.path), str(work.source.path), plain, str(work.scratch))
    return [
        Request(entry.name, entry.factory, files, subject.case.threads, subject.shape)
        for entry in entries
    ]
