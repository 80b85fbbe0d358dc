"""A true slow-down on request: a bundle whose kernel library was built for drills.

The environment variable makes every fused operator take so much longer than its work does; the
library of real bundles does not know it, and that of a deaf bundle looks for another name.
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
from attnc.tools.gate.turns import one_core

SLOWER = "ATTNC_DRILL_SLOWER"
_UNHEARD = "ATTNC_DRILL_UNUSED"  # as long, so that nothing in the library moves
_ROUNDS, _CALLS, _PROBE = 120, 5, 200
_TRIES, _CLOSE = 4, 0.05  # corrections at most, and the share by which it may be off


def drilled(bundle: Bundle, output: Path, *, deaf: bool = False) -> Bundle:
    """A copy of a bundle, sealed anew, with the drill library in the place of its own.

    A `deaf` one has the same code and is never slowed down, whatever the environment says.

    Raises MissingRuntimeError if it has no kernels, BuildError if the library cannot be built.
    """
    from attnc.runtimes.cpu.build import build
    from attnc.runtimes.cpu.library import host_target

    own = host_library(bundle)
    if own is None:
        raise MissingRuntimeError("the bundle has no kernels to slow down", where=str(bundle.path))
    shutil.copytree(bundle.path, output)
    library = build(host_target(), drill=True).read_bytes()
    assert SLOWER.encode() in library
    if deaf:
        library = library.replace(SLOWER.encode(), _UNHEARD.encode())
    (output / own.relative_to(bundle.path)).write_bytes(library)
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
    with one_core(1, 0), AttncRunner(bundle, 1) as runner:
        found = [(_PROBE, _slow_down(runner, _PROBE))]
        while len(found) <= _TRIES and abs(found[-1][1] - slow_down) > _CLOSE * slow_down:
            per_mille, measured = found[-1]
            per_mille = max(1, round(per_mille * slow_down / max(measured, 1e-3)))
            found.append((per_mille, _slow_down(runner, per_mille)))
        return min(found, key=lambda one: abs(one[1] - slow_down))


def _slow_down(runner: AttncRunner, per_mille: int) -> float:
    spec = runner.inputs[0]
    shape = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
    feed = {spec.name: seeded_input(shape, 0)}
    ratios = []
    for number in range(_ROUNDS):
        medians = {}
        for amount in (0, per_mille) if number % 2 else (per_mille, 0):
            with slower(amount):
                calls = [_milliseconds(runner, feed) for _ in range(_CALLS)]
            medians[amount] = np.median(calls)
        ratios.append(medians[per_mille] / medians[0])
    return float(np.median(ratios)) - 1


def _milliseconds(runner: AttncRunner, feed: Feed) -> float:
    begin = time.perf_counter_ns()
    runner.infer(feed)
    return (time.perf_counter_ns() - begin) / 1e6
