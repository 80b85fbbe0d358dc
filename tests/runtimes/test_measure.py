"""Samples are taken in turn, warm, and without the garbage collector."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np

from attnc.runtimes.measure import Effort, measure
from attnc.runtimes.runner import Feed, Outputs, Runner


class Recorder(Runner):
    def __init__(self, name: str, log: list[str]) -> None:
        self.label, self.log = name, log

    def activate(self) -> None:
        pass

    def infer(self, feed: Feed) -> Outputs:
        assert not gc.isenabled() or not self.log
        self.log.append(self.label)
        return {}

    def deactivate(self) -> None:
        pass


def test_turns_alternate_and_the_first_call_of_each_is_not_counted() -> None:
    log: list[str] = []
    feeds: list[dict[str, Any]] = [{"x": np.zeros(1)}] * 2
    runners = [Recorder("a", log), Recorder("b", log)]
    samples = measure(runners, feeds, Effort(rounds=3, burst=2, warmup=1))
    assert [len(taken) for taken in samples] == [6, 6]
    assert all(sample > 0 for taken in samples for sample in taken)
    assert "".join(log) == "ab" + "aaabbb" + "bbbaaa" + "aaabbb"
    assert gc.isenabled()
