"""What takes the measurements of a run: bundles, sitters and facts behind one face.

Tests and the simulation put something else in its place.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from attnc.compiler.bundle import Bundle
from attnc.compiler.cli.workloads import Workloads
from attnc.compiler.errors import AttncError, MissingRuntimeError
from attnc.compiler.progress import Progress
from attnc.runtimes.attnc_runner import timed_library
from attnc.runtimes.registry import find_runner, why_missing
from attnc.tools.gate import kept
from attnc.tools.gate.budget import Budgets, Case, Method
from attnc.tools.gate.facts import Facts, facts_of
from attnc.tools.gate.pairing import Pairing, Partners
from attnc.tools.gate.reference import write_reference
from attnc.tools.gate.sampling import Sitter
from attnc.tools.gate.sessions import SessionSitter
from attnc.tools.gate.sitter import ProcessSitter
from attnc.tools.gate.subjects import Subject, bundles_of, shape_of


class Lab(Partners, Protocol):
    """Whatever measures."""

    def facts(self, case: Case) -> Facts:
        """What needs no timing."""

    def timing(self) -> Sitter:
        """Takes latency samples of cases by name, and of what was found to sit beside them."""

    def sessions(self) -> Sitter:
        """Reads start-up times and memory of cases by name."""

    def keep(self, cases: Sequence[Case]) -> None:
        """Keep the bundles of these cases for later runs, if that is wanted."""


class RealLab:
    """Exports what the budget file names, and measures it on this machine.

    `bundles` is the folder where those of the baseline are kept, None to go without.
    """

    def __init__(
        self, budgets: Budgets, root: Path, progress: Progress, bundles: Path | None = None
    ) -> None:
        self._budgets, self._root, self._progress = budgets, root, progress
        self._bundles = bundles
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        check_peers(self._budgets.case)
        self._folder = Path(tempfile.mkdtemp(prefix="attnc-gate-"))
        self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        try:
            self._reference = write_reference(self._folder)
            self._subjects = self._prepared()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def facts(self, case: Case) -> Facts:
        """See `Lab`."""
        bundle = self._subjects[case.label].bundle
        return facts_of(case, bundle, self._root, self._progress)

    def pair(self, case: Case, digest: str) -> Pairing:
        """See `Lab`. Raises UsageError if the kept bundle is damaged."""
        subject = self._subjects[case.label]
        if subject.bundle.manifest.digest == digest:
            return Pairing("same")
        if self._bundles is None:
            return Pairing("none")
        found = kept.find(self._bundles, digest)
        if isinstance(found, str):
            return Pairing("none", found)
        why = _unfit(case, found, subject)
        if why:
            return Pairing("none", why)
        self._subjects[case.label] = replace(subject, before=found)
        return Pairing("paired")

    def twin(self, case: Case) -> bool:
        """See `Lab`."""
        subject = self._subjects[case.label]
        try:
            subject.workloads.at(subject.shape[0]).plain()
        except AttncError as error:
            self._progress.stage(f"{case.label}: no plain export to compare with: {error.message}")
            return False
        self._subjects[case.label] = replace(subject, twin=True)
        return True

    def keep(self, cases: Sequence[Case]) -> None:
        """See `Lab`. Raises UsageError if the folder cannot be written."""
        if self._bundles is not None:
            kept.keep(self._bundles, [self._subjects[case.label].bundle for case in cases])

    def timing(self) -> Sitter:
        """See `Lab`."""
        return self._sitter

    def sessions(self) -> Sitter:
        """See `Lab`."""
        return SessionSitter(tuple(self._subjects.values()), self._reference)

    @cached_property
    def _sitter(self) -> ProcessSitter:
        method: Method = self._budgets.gate
        return ProcessSitter(tuple(self._subjects.values()), self._reference, method)

    def _prepared(self) -> dict[str, Subject]:
        cases = self._budgets.case
        bundles = bundles_of(cases, self._root, self._folder, self._progress)
        found = {}
        for case, bundle in zip(cases, bundles, strict=True):
            workloads = self._stack.enter_context(Workloads(bundle, self._progress))
            found[case.label] = Subject(case, bundle, shape_of(case, bundle), workloads)
        return found


def _unfit(case: Case, before: Bundle, subject: Subject) -> str:
    """Why the baseline's bundle cannot be timed as the new one is; empty if it can."""
    if shape_of(case, before) != subject.shape:
        return f"{case.label}: the baseline's bundle takes pictures of another shape"
    try:
        timed_library(before)
    except MissingRuntimeError as error:
        return f"{case.label}: the baseline's bundle cannot run here: {error.message}"
    return ""


def check_peers(cases: Sequence[Case]) -> None:
    """Raise UsageError or MissingRuntimeError naming a peer that is unknown or not installed."""
    for case in cases:
        for name in case.limits.ratio_to:
            miss = why_missing(find_runner(name))
            if miss is not None:
                raise MissingRuntimeError(
                    f"{case.label} has a limit against {name}: {miss.reason}", remedy=miss.remedy
                )
