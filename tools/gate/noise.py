"""A machine that is as unpleasant as real ones, for measuring how good the gate is.

The reference, the model and the model of the baseline each have luck per process, share the clock
and the neighbours, suffer from neighbours differently (the two models almost alike), and lose
single calls to interruptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from attnc.tools.gate.intervals import Turns
from attnc.tools.gate.sampling import BASELINE, OURS, REFERENCE

CASE = "simulated"


@dataclass(frozen=True)
class Noise:
    """What disturbs; see docs/gate.md for where the figures come from.

    `luck`: a process is up to this much slower than the best, each amount equally likely.
    `clock`, `drift`: how far the clock is off at a sitting's start, and moves from turn to turn.
    `arrives`, `leaves`, `depth`: chances per turn that a neighbour comes and goes, and how much it
    costs the reference; the model loses `least` to `greatest` times that, always the same in a run.
    `turn`: deviation of a whole turn, of each on its own.
    `spread`: of single calls; `hits` of them are interrupted, with a tail of that exponent.
    `alike`: deviation, from sitting to sitting, of what a neighbour costs the baseline's model over
    what it costs the new one.
    `machine`: deviation of the true ratio to the reference between two runs on machines of a class.
    """

    luck: float = 0.15
    clock: float = 0.03
    drift: float = 0.006
    arrives: float = 0.03
    leaves: float = 0.2
    depth: tuple[float, float] = (0.05, 0.4)
    least: float = 0.6
    greatest: float = 1.4
    alike: float = 0.2
    turn: float = 0.08
    spread: float = 0.012
    hits: float = 0.03
    exponent: float = 1.5
    machine: float = 0.004


@dataclass
class NoisyMachine:
    """A `Sitter` that invents its samples: one model that is `slower` times what it was.

    `suffers` is what a neighbour costs the model against the reference; with `paired` the model of
    the baseline sits in its place.
    """

    rng: np.random.Generator
    slower: float
    suffers: float
    rounds: int
    burst: int
    noise: Noise = field(default_factory=Noise)
    paired: bool = False
    busy: bool = False
    sittings: int = 0

    def __post_init__(self) -> None:
        self._machine = float(np.exp(self.rng.normal(0, self.noise.machine)))
        self._depth = 0.0

    def sit(self, cases: Sequence[str]) -> Mapping[str, Mapping[str, Turns]]:
        """One sitting, in which the two take turns as real processes do."""
        self.sittings += 1
        noise, rng = self.noise, self.rng
        lucks = 1 + rng.uniform(0, noise.luck, 2)
        machine = 1.0 if self.paired else self._machine
        base = (self.slower * machine * lucks[0], lucks[1])
        other = self.suffers * np.exp(rng.normal(0, noise.alike)) if self.paired else 1.0
        clock = rng.normal(0, noise.clock)
        turns = np.empty((2, self.rounds, self.burst))
        for number in range(self.rounds):
            for who in (0, 1) if number % 2 == 0 else (1, 0):
                clock = 0.97 * clock + rng.normal(0, noise.drift)
                self._neighbours()
                loss = self.busy * self._depth * (other if who else self.suffers)
                speed = np.exp(clock + rng.normal(0, noise.turn))
                turns[who, number] = base[who] * speed * (1 + loss) * self._calls()
        name = BASELINE if self.paired else REFERENCE
        return {case: {OURS: turns[0], name: turns[1]} for case in cases}

    def _neighbours(self) -> None:
        if self.busy:
            self.busy = self.rng.random() > self.noise.leaves
        elif self.rng.random() < self.noise.arrives:
            self.busy, self._depth = True, self.rng.uniform(*self.noise.depth)

    def _calls(self) -> Turns:
        """The calls of a turn, relative to what they should take."""
        calls = np.exp(self.rng.normal(0, self.noise.spread, self.burst))
        tails = 1.05 + 0.1 * self.rng.pareto(self.noise.exponent, self.burst)
        return np.asarray(np.where(self.rng.random(self.burst) < self.noise.hits, tails, 1) * calls)
