"""Take latency samples of several runners in turn, in one process.

A turn of one runner is one call that is not counted (it finds the caches and the other runtimes'
spinning threads as the last one left them) and a few that are. Each round starts with another one.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from attnc.runtimes.runner import Feed, Runner


@dataclass(frozen=True)
class Effort:
    """How much is measured: `rounds` turns of `burst` samples each, after `warmup` calls."""

    rounds: int = 40
    burst: int = 3
    warmup: int = 5


def measure(
    runners: Sequence[Runner],
    feeds: Sequence[Feed],
    effort: Effort,
    advance: Callable[[], None] = lambda: None,
) -> list[list[float]]:
    """Samples in milliseconds, one list per runner; `feeds` holds the input of each.

    The runners are active before and after the call.
    """
    samples: list[list[float]] = [[] for _ in runners]
    with _without_collector():
        for runner, feed in zip(runners, feeds, strict=True):
            for _ in range(effort.warmup):
                runner.infer(feed)
        for start in range(effort.rounds):
            for offset in range(len(runners)):
                index = (start + offset) % len(runners)
                samples[index] += _turn(runners[index], feeds[index], effort.burst)
            advance()
    return samples


def _turn(runner: Runner, feed: Feed, burst: int) -> list[float]:
    runner.infer(feed)
    taken = []
    for _ in range(burst):
        begin = time.perf_counter_ns()
        runner.infer(feed)
        taken.append((time.perf_counter_ns() - begin) / 1e6)
    return taken


@contextmanager
def _without_collector() -> Iterator[None]:
    """Python's garbage collector stays out of the samples."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
