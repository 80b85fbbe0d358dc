"""Runners for the benchmark's child processes, which find them by their dotted names."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from attnc.compiler.errors import MissingRuntimeError
from attnc.compiler.manifest import TensorSpec
from attnc.runtimes.attnc_runner import AttncRunner
from attnc.runtimes.request import Files
from attnc.runtimes.runner import Feed, Outputs, Runner


class Fake(Runner):
    """Writes its thread count for each call, and `-` at its end, to the log if there is one."""

    name = "fake"
    inputs = (TensorSpec(name="x", dtype="float32", shape=(1,)),)

    def __init__(self, files: Files, threads: int | None) -> None:
        self.log, self.mark = Path(files.bundle), str(threads)

    def say(self, text: str) -> None:
        if self.log.is_file():
            with self.log.open("a") as log:
                log.write(text)

    def activate(self) -> None:
        print("loading")  # to stdout, which is not for this

    def infer(self, feed: Feed) -> Outputs:
        self.say(self.mark)
        return {"y": feed["x"]}

    def deactivate(self) -> None:
        self.say("-")


class Raises(Fake):
    def infer(self, feed: Feed) -> Outputs:
        raise RuntimeError("out of beads\nand a second line")


class NotHere(Fake):
    def activate(self) -> None:
        raise MissingRuntimeError("no abacus", where="the desk", remedy="buy one")


class Dies(Fake):
    def infer(self, feed: Feed) -> Outputs:
        os.write(2, b"first words\nlast words\n")
        os._exit(7)


class Sleeps(Fake):
    def infer(self, feed: Feed) -> Outputs:
        self.say(f"{os.getpid()}\n")
        time.sleep(300)
        return {}


class OffByAPercent(AttncRunner):
    def infer(self, feed: Feed) -> Outputs:
        return {name: np.asarray(value * 1.01) for name, value in super().infer(feed).items()}


class UnlessTorchIsImported(AttncRunner):
    def infer(self, feed: Feed) -> Outputs:
        assert "torch" not in sys.modules
        return super().infer(feed)


def _ours(kind: type[AttncRunner], files: Files, threads: int | None) -> Runner:
    from attnc.compiler.bundle import Bundle

    return kind(Bundle.open(Path(files.bundle)), threads)


def off_by_a_percent(files: Files, threads: int | None) -> Runner:
    return _ours(OffByAPercent, files, threads)


def ours_unless_torch_is_imported(files: Files, threads: int | None) -> Runner:
    return _ours(UnlessTorchIsImported, files, threads)


logs, raises, not_here, dies, sleeps = Fake, Raises, NotHere, Dies, Sleeps
