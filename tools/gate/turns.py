"""The order in which the processes of a sitting take their turns, and the core they share.

What is compared runs side by side: a bundle, that of the baseline and their peers are a unit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from attnc.runtimes.measure import Effort, Timed
from attnc.tools.gate.intervals import Turns


def take_turns(units: Sequence[Sequence[Timed]], effort: Effort) -> list[list[Turns]]:
    """The samples [rounds, burst] in ms of each member of each unit.

    Each round begins with another unit, and after as many rounds as there are units the order
    within them turns around: so each is first as often as last, and has the same before it.
    """
    count = len(units)
    samples: list[list[list[list[float]]]] = [[[] for _ in unit] for unit in units]
    for number in range(effort.rounds):
        backwards = (number // count) % 2 == 1
        for offset in range(count):
            which = (number + offset) % count
            places = range(len(units[which]))
            for place in reversed(places) if backwards else places:
                taken, _ = units[which][place].turn(effort.lead_in, effort.burst)
                samples[which][place].append(taken)
    return [[np.asarray(turns, np.float64) for turns in unit] for unit in samples]


@contextmanager
def one_core(threads: int, number: int) -> Iterator[None]:
    """In this block, what is started with one thread runs on one core, another for each `number`.

    Moving between cores costs a process its caches and hits the two that are compared at different
    times: with it, ratios of a bundle to itself vary about twice as much. With more threads, and
    where the system cannot do it, nothing is changed.
    """
    if threads != 1 or not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = sorted(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, {allowed[number % len(allowed)]})
    except OSError:  # a sandbox that forbids it
        yield
        return
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
