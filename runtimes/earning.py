"""Which is faster on this machine: a fused operator's kernel, or its own body in ONNX Runtime."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.runtimes.onnx_session import import_onnxruntime, session_options

#: The body takes the place if it is this much faster in all but two of the rounds, and that in
#: each of several sittings: fresh sessions, whose memory lies elsewhere.
MARGIN, ROUNDS, MAY_LOSE, SITTINGS = 1.05, 11, 2, 3
BURST, MOST, LEAST = 0.0005, 50, 3  # seconds that a turn lasts, and the number of its calls
#: Weights beyond this do not wait in the nearer caches from one run of a model to the next.
COLD, CACHES = 1 << 19, 1 << 25
Feed = dict[str, NDArray[Any]]
Turn = tuple[float, float]


@dataclass(frozen=True)
class Timing:
    """Medians in microseconds, and whether the fused form stays."""

    fused_us: float
    body_us: float
    fused: bool


def time_forms(
    model: bytes, inputs: Iterable[tuple[str, str, tuple[int, ...]]], library: Path
) -> Timing:
    """Time a model of one operator with our kernels and without them, in turn, on one thread.

    A few rounds settle most cases: three that the body does not win leave the fused form, so
    near-ties fall to it and a noisy machine decides like a quiet one. Large weights are driven out
    of the caches before each call, as the rest of a model does it.
    """
    feed = {name: _filled(dtype, shape) for name, dtype, shape in inputs}
    taken: list[Turn] = []
    fused = False
    for _ in range(SITTINGS):
        turns, fused = _sit(model, feed, library)
        taken += turns
        if fused:
            break
    fused_us, body_us = (round(1e6 * median(times), 2) for times in zip(*taken, strict=True))
    return Timing(fused_us, body_us, fused)


def _sit(model: bytes, feed: Feed, library: Path) -> tuple[list[Turn], bool]:
    """Turns of two fresh sessions, and whether the fused form stays."""
    before = _flush if len(model) > COLD else _nothing
    calls = [_caller(model, feed, where) for where in (library, None)]
    counts = [LEAST, LEAST]
    if len(model) <= COLD:
        counts = [max(LEAST, min(MOST, int(BURST / _seconds(call, 1)))) for call in calls]
    turns: list[Turn] = []
    lost = 0
    while len(turns) < ROUNDS and lost <= MAY_LOSE:
        fused, body = (
            _seconds(call, count, before) for call, count in zip(calls, counts, strict=True)
        )
        turns.append((fused, body))
        lost += fused <= MARGIN * body
    return turns, lost > MAY_LOSE


def _nothing() -> None:
    """Leave the caches as they are."""


def _flush() -> None:
    """Read and write more than the caches hold."""
    np.add(_filler(), 1, out=_filler())


@cache
def _filler() -> NDArray[Any]:
    return np.zeros(CACHES, np.uint8)


def _seconds(call: Any, count: int, before: Callable[[], None] = _nothing) -> float:
    """Seconds of the fastest of `count` calls: the others may have waited for the processor."""
    times = []
    for _ in range(count):
        before()
        begin = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - begin)
    return min(times) / 1e9


def _caller(model: bytes, feed: Feed, library: Path | None) -> Any:
    """A call of a session, which has run once."""
    options = session_options(1, library)
    options.log_severity_level = 3
    session = import_onnxruntime().InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )
    session.run(None, feed)
    return lambda: session.run(None, feed)


def _filled(dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Normal numbers; integers are indices of rows, which count up along the last axis."""
    if np.issubdtype(np.dtype(dtype), np.integer):
        return np.broadcast_to(np.arange(shape[-1], dtype=dtype), shape).copy()
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)
