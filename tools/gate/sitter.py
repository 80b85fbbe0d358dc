"""Real sittings: the reference, bundles old and new, and peers, each in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from attnc.runtimes.bench import check_same_model, same_model_limit
from attnc.runtimes.bench_process import BenchProcess, processes
from attnc.runtimes.measure import Effort
from attnc.runtimes.registry import find_runner
from attnc.runtimes.request import Files, Request
from attnc.tools.gate.budget import Method
from attnc.tools.gate.intervals import Turns
from attnc.tools.gate.questions import TWIN
from attnc.tools.gate.reference import SHAPE
from attnc.tools.gate.sampling import BASELINE, OURS, REFERENCE
from attnc.tools.gate.subjects import Subject
from attnc.tools.gate.turns import one_core, take_turns

#: Cases that sit together: all their processes are in memory at once.
TOGETHER = 6


class ProcessSitter:
    """A `Sitter` for bundles of this machine."""

    def __init__(self, subjects: Sequence[Subject], reference: Path, method: Method) -> None:
        self._subjects = {subject.label: subject for subject in subjects}
        self._reference, self._method = reference, method
        self._efforts: dict[tuple[int, int], Effort] = {}
        self._held = 0

    def sit(self, cases: Sequence[str]) -> Mapping[str, Mapping[str, Turns]]:
        """One sitting of these cases; those of one thread count share the reference, which stays
        away where nothing is asked about it."""
        self._held += 1
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
        if any(_needs_reference(subject) for subject in subjects):
            wanted.insert(0, [_reference(self._reference, threads)])
        flat = [request for unit in wanted for request in unit]
        step = 1 if self._held % 2 else -1  # who starts first finds another memory than who is last
        with one_core(threads, self._held // 2), processes(flat[::step]) as started:
            units = _grouped(wanted, started[::step])
            self._warm_up(subjects, wanted, units)
            effort = self._effort((threads, place), sum(process.call for process in started))
            taken = take_turns(units, effort)
        shared = {REFERENCE: taken[0][0]} if len(wanted) > len(subjects) else {}
        ours = zip(subjects, wanted[-len(subjects) :], taken[-len(subjects) :], strict=True)
        return {
            subject.label: {**shared, **_by_name(requests, turns)}
            for subject, requests, turns in ours
        }

    def _warm_up(
        self,
        subjects: Sequence[Subject],
        wanted: Sequence[Sequence[Request]],
        units: Sequence[Sequence[BenchProcess]],
    ) -> None:
        """A few calls of each; a bundle and its peers have to compute the same, the baseline's
        bundle need not: it may have had other weights."""
        calls = Effort().warmup
        outputs = [[process.warm_up(calls) for process in unit] for unit in units]
        pairs = zip(wanted[-len(subjects) :], outputs[-len(subjects) :], strict=True)
        for subject, (requests, found) in zip(subjects, pairs, strict=True):
            alike = [i for i, request in enumerate(requests) if request.name != BASELINE]
            names = [requests[i].name for i in alike]
            check_same_model(names, [found[i] for i in alike], same_model_limit(subject.bundle))

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


def _needs_reference(subject: Subject) -> bool:
    """A limit on the ratio to it, or a baseline that is made or compared with by it."""
    return subject.before is None or subject.case.limits.latency_ratio is not None


def _requests(subject: Subject) -> list[Request]:
    """Ours first, then the baseline's bundle, then the peers for which there is a limit."""
    peers = {*subject.case.limits.ratio_to, *([TWIN] if subject.twin else [])}
    entries = [find_runner(name) for name in (OURS, *sorted(peers))]
    work = subject.workloads.at(subject.shape[0])
    plain = str(work.plain()) if any(entry.takes_plain for entry in entries) else ""
    files = Files(str(work.bundle.path), str(work.source.path), plain, str(work.scratch))
    threads, shape = subject.case.threads, subject.shape
    found = [Request(entry.name, entry.factory, files, threads, shape) for entry in entries]
    if subject.before is not None:
        place = str(subject.before.path)
        files = Files(place, place)
        found.insert(1, Request(BASELINE, entries[0].factory, files, threads, shape))
    return found


def _grouped(
    wanted: Sequence[Sequence[Request]], started: Sequence[BenchProcess]
) -> list[list[BenchProcess]]:
    rest = iter(started)
    return [[next(rest) for _ in requests] for requests in wanted]


def _by_name(requests: Sequence[Request], turns: Sequence[Turns]) -> dict[str, Turns]:
    return {request.name: taken for request, taken in zip(requests, turns, strict=True)}
