"""Start-up time and peak memory of a bundle's session, beside those of the reference workload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from attnc.compiler.errors import MissingRuntimeError
from attnc.runtimes.attnc_runner import timed_library
from attnc.runtimes.footprint import Session, footprint
from attnc.tools.gate.intervals import Turns
from attnc.tools.gate.questions import PEAK, START_UP, START_UP_RATIO
from attnc.tools.gate.reference import SHAPE
from attnc.tools.gate.sampling import REFERENCE
from attnc.tools.gate.subjects import Subject


class SessionSitter:
    """A `Sitter` whose sittings are one reading each: a session in a fresh process, and one of the
    reference, to whose creation the ratio is."""

    def __init__(self, subjects: Sequence[Subject], reference: Path) -> None:
        self._subjects = {subject.label: subject for subject in subjects}
        self._reference = reference

    def sit(self, cases: Sequence[str]) -> Mapping[str, Mapping[str, Turns]]:
        """One reading of each. Raises MissingRuntimeError where a limit on memory is set and the
        system does not tell it."""
        return {case: self._read(self._subjects[case]) for case in cases}

    def _read(self, subject: Subject) -> Mapping[str, Turns]:
        ours, theirs = footprint(_sessions(subject, self._reference), 1)
        readings = {
            START_UP: ours["create_ms"],
            START_UP_RATIO: ours["create_ms"] / theirs["create_ms"],
        }
        if ours["peak_mb"] is not None:
            readings[PEAK] = ours["peak_mb"]
        elif subject.case.limits.peak_mb is not None:
            raise MissingRuntimeError(
                "this system does not tell the peak memory of a process",
                remedy="leave `peak_mb` out on this machine",
            )
        return {name: np.array([[value]]) for name, value in readings.items()}


def _sessions(subject: Subject, reference: Path) -> list[Session]:
    library = timed_library(subject.bundle)
    model, threads = str(subject.bundle.model_path), subject.case.threads
    return [
        Session("attnc", model, str(library) if library else None, threads, subject.shape),
        Session(REFERENCE, str(reference), None, threads, SHAPE),
    ]
