"""A true slow-down on request: a bundle whose kernel library was built for drills.

The environment variable makes every fused operator take so much longer than its work does; the
library of real bundles does not know it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from attnc.compiler.bundle import Bundle, list_files
from attnc.compiler.errors import MissingRuntimeError
from attnc.compiler.manifest import FILE_NAME
from attnc.compiler.seeded_input import seeded_input
from attnc.runtimes.attnc_runner import AttncRunner, host_library
from attnc.runtimes.runner import Feed

SLOWER = "ATTNC_DRILL_SLOWER"
_ROUNDS, _CALLS, _PROBE = 120, 5, 200
_TRIES, _CLOSE = 4, 0.05  # corrections at most, and the share by which it may be off


def drilled(bundle: Bundle, output: Path) -> Bundle:
    """A copy of a bundle, sealed anew, with the drill library in the place of its own.

    Raises MissingRuntimeError if it has no kernels, BuildError if the library cannot be built.
    """
    from attnc.runtimes.cpu.build import build
    from attnc.runtimes.cpu.library import host_target

    own = host_library(bundle)
    if own is None:
        raise MissingRuntimeError("the bundle has no kernels to slow down", where=str(bundle.path))
    shutil.copytree(bundle.path, output)
    shutil.copyfile(build(host_target(), drill=True), output / own.relative_to(bundle.path))
    manifest = bundle.manifest.model_copy(update={"files": list_files(output)}).sealed()
    (output / FILE_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return Bundle.open(output)


@contextmanager
def slower(per_mille: int) -> Iterator[None]:
    """In this block, processes that load the drill library run its operators slower."""
    before = os.environ.get(SLOWER)
    os.environ[SLOWER] = str(per_mille)
    try:
        yield
    finally:
        if before is None:
            del os.environ[SLOWER]
        else:
            os.environ[SLOWER] = before


def calibrated(bundle: Bundle, slow_down: float) -> tuple[int, float]:
    """Per mille for the operators that make the whole model slower by `slow_down`, and by how much
    they do: measured in one process, in turn, so without the luck of processes."""
    with AttncRunner(bundle, 1) as runner:
        per_mille, measured = _PROBE, _slow_down(runner, _PROBE)
        for _ in range(_TRIES):
            if abs(measured - slow_down) < _CLOSE * slow_down:
                break
            per_mille = max(1, round(per_mille * slow_down / max(measured, 1e-3)))
            measured = _slow_down(runner, per_mille)
        return per_mille, measured


def _slow_down(runner: AttncRunner, per_mille: int) -> float:
    spec = runner.inputs[0]
    shape = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
    feed = {spec.name: seeded_input(shape, 0)}
    ratios = []
    for _ in range(_ROUNDS):
        medians = []
        for amount in (0, per_mille):
            with slower(amount):
                calls = [_milliseconds(runner, feed) for _ in range(_CALLS)]
            medians.append(np.median(calls))
        ratios.append(medians[1] / medians[0])
    return float(np.median(ratios)) - 1


def _milliseconds(runner: AttncRunner, feed: Feed) -> float:
    begin = time.perf_counter_ns()
    runner.infer(feed)
    return (time.perf_counter_ns() - begin) / 1e6
