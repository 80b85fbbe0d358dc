"""Take latency samples of several runners in turn, each in a process of its own.

In one process they disturb each other: idle threads spin on the cores of the next runner, and wake
up on the same core. A process has luck or bad luck with where its memory lies (up to 15 %), so all
are started anew for each sitting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol


@dataclass(frozen=True)
class Effort:
    """How much is measured: `sittings` times fresh processes, `rounds` turns of each in a sitting.

    A turn is `lead_in` calls that are not counted (they wake the runner's threads and fill the
    caches that the last one used) and `burst` that are. `warmup` calls follow the start.
    """

    sittings: int = 3
    rounds: int = 5
    burst: int = 5
    lead_in: int = 2
    warmup: int = 3

    def within(self, seconds: float, call: float) -> Effort:
        """As much of it as `seconds` allow, where one call of each runner takes `call` seconds.

        Bursts get shorter first, then rounds fewer, down to two of one counted call each.
        """
        affordable = max(1, int(seconds / (self.sittings * call)))  # calls in a sitting
        per_turn = affordable // self.rounds - self.lead_in
        if per_turn >= 1:
            return replace(self, burst=min(self.burst, per_turn))
        rounds = min(self.rounds, max(2, affordable // 2))
        return replace(self, rounds=rounds, burst=1, lead_in=1)


class Timed(Protocol):
    """What can take a turn: a `BenchProcess`."""

    def turn(self, lead_in: int, burst: int) -> tuple[list[float], bool]:
        """Samples in ms, and whether its threads came to rest afterwards."""


@dataclass
class Taken:
    """The samples of one runner in ms, in the order taken, and after how many turns its threads
    still computed when the next runner began."""

    samples: list[float] = field(default_factory=list)
    restless: int = 0

    def add(self, samples: list[float], still: bool) -> None:
        """One turn more."""
        self.samples += samples
        self.restless += not still


def measure(
    runners: Sequence[Timed], effort: Effort, advance: Callable[[], None] = lambda: None
) -> list[Taken]:
    """The turns of one sitting, in order of `runners`; each round starts with another runner.

    A turn returns when its threads have stopped, so one runner computes at a time.
    """
    taken = [Taken() for _ in runners]
    for start in range(effort.rounds):
        for offset in range(len(runners)):
            index = (start + offset) % len(runners)
            taken[index].add(*runners[index].turn(effort.lead_in, effort.burst))
        advance()
    return taken
