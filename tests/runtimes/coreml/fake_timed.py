"""Runners for the benchmark's child processes on a stand-in for a Mac, which start at once.

Importing coremltools takes seconds; here only its messages are imported.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from attnc.compiler.errors import UnsupportedError
from attnc.runtimes.coreml import device, device_latency
from attnc.runtimes.request import Files


class Constant:
    """A model that gives what it is told to."""

    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, data: dict[str, Any]) -> dict[str, Any]:
        (given,) = data.values()
        assert np.asarray(given).size == 3 * 8 * 6
        return {"chances": np.array([[self.value, 1.0]], np.float32)}


def timed(files: Files, units: str, value: float) -> device_latency.TimedRunner:
    """A runner in a child process, where nothing needs to be undone."""
    root = ModuleType("coremltools")
    spec = find_spec("coremltools")
    assert spec is not None
    assert spec.submodule_search_locations
    root.__path__ = list(spec.submodule_search_locations)
    sys.modules["coremltools"] = root

    def load(path: Path, chosen: str, version: int) -> Constant:
        assert (chosen, version) == (units, 7)
        return Constant(value)

    vars(device).update(require=lambda: None, load_model=load)
    return device_latency.TimedRunner(Path(files.bundle), units)


def constant_on_all(files: Files, threads: int | None) -> device_latency.TimedRunner:
    return timed(files, "all", 0.5)


def constant_on_cpu(files: Files, threads: int | None) -> device_latency.TimedRunner:
    return timed(files, "cpu", 0.501)


def wrong_on_cpu(files: Files, threads: int | None) -> device_latency.TimedRunner:
    return timed(files, "cpu", 0.7)


def refused(files: Files, threads: int | None) -> device_latency.TimedRunner:
    raise UnsupportedError("no beads for this abacus", remedy="buy one")
