"""Stand-ins for what the gate measures with: numbers that a test has made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attnc.tools.gate.budget import Budgets, Case, Method
from attnc.tools.gate.facts import Facts
from attnc.tools.gate.pairing import Pairing
from attnc.tools.gate.questions import PEAK, START_UP, START_UP_RATIO, TWIN
from attnc.tools.gate.sampling import BASELINE, OURS, REFERENCE, Sitter

MACHINE: dict[str, Any] = {
    "cpu": "Test CPU",
    "architecture": "x86_64",
    "features": ["avx2", "fma"],
    "cores": 2,
    "system": "Linux",
    "python": "3.11",
    "versions": {"attnc": "0.1.0", "numpy": "2.0", "onnxruntime": "1.30"},
}
DIGEST = "1" * 64
COUNTERS = {
    "nodes": 46,
    "kernels": 46,
    "fused_share": 1.0,
    "flops": 1000,
    "traffic_bytes": 500,
    "model_bytes": 4000,
    "file_bytes": 9000,
}


@dataclass
class FakeSitter:
    """Latencies by case, in ms; the reference takes 1 ms. `spread` is the luck of processes.

    `before` is the latency of the baseline's bundle, which then sits in place of the reference.
    Cases of a run that follows `calm` sittings get `later` in place of their latency.
    """

    latencies: Mapping[str, float]
    spread: float = 0.01
    calm: int = 10**9
    later: Mapping[str, float] = field(default_factory=dict)
    peers: dict[str, float] = field(default_factory=dict)
    before: float | None = None
    sittings: int = 0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(1)

    def sit(self, cases: Sequence[str]) -> dict[str, dict[str, Any]]:
        self.sittings += 1
        now = self.later if self.sittings > self.calm else self.latencies
        return {
            case: {
                OURS: self._turns(now[case]),
                **(
                    {REFERENCE: self._turns(1.0)}
                    if self.before is None
                    else {BASELINE: self._turns(self.before)}
                ),
                **{peer: self._turns(ms) for peer, ms in self.peers.items()},
            }
            for case in cases
        }

    def _turns(self, ms: float) -> Any:
        luck = 1 + self._rng.uniform(-self.spread, self.spread)
        return ms * luck * np.exp(self._rng.normal(0, 0.003, (3, 5)))


@dataclass
class FakeSessions:
    """Start-up in ms (the reference takes 10) and peak memory in MB."""

    start_up: float = 30.0
    peak: float = 100.0

    def sit(self, cases: Sequence[str]) -> dict[str, dict[str, Any]]:
        readings = {START_UP: self.start_up, START_UP_RATIO: self.start_up / 10, PEAK: self.peak}
        return {
            case: {name: np.array([[value]]) for name, value in readings.items()} for case in cases
        }


@dataclass
class FakeLab:
    """A `Lab` that knows everything beforehand: the pairing by digest, what the baseline's bundle
    takes, and what the plain export does (None: there is none)."""

    sitter: FakeSitter
    known: Facts = field(default_factory=lambda: Facts(dict(COUNTERS), digest=DIGEST))
    starts: FakeSessions = field(default_factory=FakeSessions)
    pairings: Mapping[str, Pairing] = field(default_factory=dict)
    before: float = 2.0
    plain: float | None = None
    kept: list[str] = field(default_factory=list)

    def pair(self, case: Case, digest: str) -> Pairing:
        found = self.pairings.get(digest, Pairing("none"))
        if found.kind == "paired":
            self.sitter.before = self.before
        return found

    def twin(self, case: Case) -> bool:
        if self.plain is not None:
            self.sitter.peers[TWIN] = self.plain
        return self.plain is not None

    def keep(self, cases: Sequence[Case]) -> None:
        self.kept += [case.label for case in cases]

    def facts(self, case: Case) -> Facts:
        return self.known

    def timing(self) -> Sitter:
        return self.sitter

    def sessions(self) -> Sitter:
        return self.starts


def budgets(limits: Mapping[str, Any] | None = None, **gate: Any) -> Budgets:
    """One case called `m` with these limits."""
    case = {"name": "m", "model": "shvit_s1", "limits": dict(limits or {})}
    return Budgets.model_validate({"gate": gate, "case": [case]})


def quick_method(**changes: Any) -> Method:
    """The method with other figures."""
    return Method(**changes)
