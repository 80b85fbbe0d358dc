"""The baseline: what was measured before, by class of machine.

Timings count only for the class they were made on; counters do not vary between machines and count
for all. One file holds the records of several classes, so that it can be kept in a repository.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.manifest import canonical_json
from attnc.compiler.manifest_parts import Part, first_fault
from attnc.compiler.staging import write_text
from attnc.tools.gate.intervals import Interval
from attnc.tools.gate.reference import VERSION as REFERENCE
from attnc.tools.gate.report import Pair, rounded

FORMAT: Final = "attnc-gate-baseline"
VERSION = 2
#: Whose version changes what a ratio to the reference workload is.
TIMED_PACKAGES = ("onnxruntime", "numpy")


class MachineClass(Part):
    """What machines have in common whose ratios can be compared."""

    cpu: str
    architecture: str
    features: tuple[str, ...]
    cores: int
    versions: dict[str, str]
    reference: int = REFERENCE

    @classmethod
    def of(cls, machine: dict[str, Any]) -> MachineClass:
        """The class of a machine as `machine_info` describes it."""
        versions = {k: v for k, v in machine["versions"].items() if k in TIMED_PACKAGES}
        return cls(
            cpu=machine["cpu"],
            architecture=machine["architecture"],
            features=tuple(machine["features"]),
            cores=machine["cores"],
            versions=versions,
        )

    def differences(self, other: MachineClass) -> str:
        """What is not the same, in words."""
        mine, theirs = self.model_dump(), other.model_dump()
        return "; ".join(
            f"{key}: {_shown(theirs[key])} there, {_shown(mine[key])} here"
            for key in mine
            if mine[key] != theirs[key]
        )


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {version}" for name, version in sorted(value.items())) or "none"
    return " ".join(value) or "none" if isinstance(value, tuple) else str(value)


class Measured(Part):
    """What a figure was, with its 95 % interval."""

    value: float
    interval: Pair

    @classmethod
    def of(cls, interval: Interval) -> Measured:
        """Rounded to five digits."""
        return cls(
            value=rounded(interval.value), interval=(rounded(interval.low), rounded(interval.high))
        )

    def as_interval(self) -> Interval:
        """For comparing."""
        return Interval(self.value, *self.interval)


class CaseRecord(Part):
    """One case: figures are comparable only where the settings are equal.

    `bundle` is the digest (SHA-256) of the bundle that was measured, if it was kept.
    """

    settings: dict[str, Any]
    counters: dict[str, float]
    timings: dict[str, Measured] = Field(default={})
    bundle: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


class Record(Part):
    """All cases on one class of machine."""

    machine: MachineClass
    measured: str
    sittings: int
    cases: dict[str, CaseRecord]


class Baseline(Part):
    """The file."""

    format: Literal["attnc-gate-baseline"] = FORMAT
    version: int = VERSION
    records: tuple[Record, ...] = ()

    def of_class(self, machine: MachineClass) -> Record | None:
        """The record of a class of machine."""
        return next((record for record in self.records if record.machine == machine), None)

    def newest(self) -> Record | None:
        """The record that was made last, on whatever machine."""
        return max(self.records, key=lambda record: record.measured, default=None)

    def renewed(self, record: Record) -> Baseline:
        """With this record in the place of that of the same class; the others stay."""
        others = [old for old in self.records if old.machine != record.machine]
        return Baseline(records=(*others, record))

    def bundles(self) -> set[str]:
        """The digests of all bundles that were kept."""
        cases = (case for record in self.records for case in record.cases.values())
        return {case.bundle for case in cases if case.bundle}


def read_baseline(path: Path) -> Baseline:
    """Load and check a baseline.

    Raises UsageError if it is none, UnsupportedError if it is of a newer version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            "there is no baseline yet",
            where=str(path),
            remedy="make one with --update-baseline, on an unchanged version",
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the baseline: {error}", where=str(path)) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UsageError(f"{path.name} is no baseline of attnc gate", where=str(path))
    if isinstance(document.get("version"), int) and document["version"] > VERSION:
        raise UnsupportedError(
            f"the baseline has version {document['version']}; this attnc reads up to {VERSION}",
            where=str(path),
            remedy="install a newer attnc, or make a new baseline",
        )
    try:
        return Baseline.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise UsageError(
            f"the baseline does not follow its schema: {first_fault(error)}",
            where=str(path),
            remedy="make a new one with --update-baseline",
        ) from error


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Replace the file, whole or not at all."""
    write_text(path, canonical_json(baseline.model_dump(mode="json")))


def json_schema() -> dict[str, Any]:
    """The JSON schema of the file."""
    return Baseline.model_json_schema()
