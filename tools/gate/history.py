"""What a baseline has to say in this run: timings of this class of machine, counters of any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from attnc.tools.gate.baseline import Baseline, CaseRecord, MachineClass, Record
from attnc.tools.gate.budget import Case
from attnc.tools.gate.intervals import Interval

NOT_THERE = "the baseline does not have this case; add it with --update-baseline"
OTHER_SETTINGS = "the baseline has this case with other settings"


@dataclass(frozen=True)
class History:
    """The record whose timings count, that whose counters do, and why they are not the same."""

    timings: Record | None = None
    counters: Record | None = None
    reason: str = ""
    same_files: bool = True  # whether files are for the same architecture

    @classmethod
    def of(cls, baseline: Baseline | None, machine: dict[str, Any]) -> History:
        """The parts of a baseline that count on a machine."""
        if baseline is None:
            return cls()
        here = MachineClass.of(machine)
        own = baseline.of_class(here)
        if own is not None:
            return cls(own, own)
        newest = baseline.newest()
        if newest is None:
            return cls(reason="the baseline is empty")
        reason = (
            "the baseline is of another class of machine, so its timings are not used, "
            f"its counters are ({here.differences(newest.machine)})"
        )
        return cls(None, newest, reason, newest.machine.architecture == here.architecture)

    def timing(self, case: Case, name: str) -> Interval | None:
        """What a timing of the case was, if it is comparable."""
        found = self._of(self.timings, case)
        if not isinstance(found, CaseRecord) or name not in found.timings:
            return None
        return found.timings[name].as_interval()

    def counted(self, case: Case) -> dict[str, float] | str:
        """The counters of the case as they were, or why there are none."""
        found = self._of(self.counters, case)
        if not isinstance(found, CaseRecord):
            return found
        other = () if self.same_files else ("file_bytes",)
        return {name: value for name, value in found.counters.items() if name not in other}

    def bundle(self, case: Case) -> str | None:
        """The digest of the bundle that the case was measured with, on this class of machine or
        on another; None if the baseline does not say."""
        found = (self._of(record, case) for record in (self.timings, self.counters))
        return next((f.bundle for f in found if isinstance(f, CaseRecord) and f.bundle), None)

    def why_not_timed(self, case: Case) -> str:
        """Why the case's latency cannot be compared."""
        known = self._of(self.counters, case)
        reason = known if isinstance(known, str) else self.reason
        return reason or "the baseline has no latency of this case"

    @staticmethod
    def _of(record: Record | None, case: Case) -> CaseRecord | str:
        if record is None or case.label not in record.cases:
            return NOT_THERE
        known = record.cases[case.label]
        return known if known.settings == case.settings() else OTHER_SETTINGS
