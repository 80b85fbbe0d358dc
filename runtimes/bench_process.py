"""The parent's end of the benchmark's child processes: start, order, end.

Each is a process group of its own, so Ctrl-C reaches the parent alone, which ends them with all
that they started; a parent that is killed closes their stdin, which ends them too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler import errors
from attnc.compiler.errors import AttncError
from attnc.runtimes.request import Request

COMMAND = [sys.executable, "-P", "-m", "attnc.runtimes.bench_child"]
FAREWELL = 10.0  # seconds that a child has to end by itself


class BenchProcess:
    """A child process that holds one runner. Everything raises AttncError if the child cannot."""

    def __init__(self, request: Request) -> None:
        """Start it; `wait_ready` waits until its runner is loaded."""
        self.name = request.name
        self.call = 0.0  # seconds of the last call of `warm_up`
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `kill`
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            process_group=0,
        )
        self._send({**asdict(request), "path": sys.path})

    def wait_ready(self) -> None:
        """Return when the runner is loaded."""
        self._receive()

    def warm_up(self, calls: int) -> NDArray[Any]:
        """Run a few times, at least once; returns the output."""
        self._send({"do": "warm-up", "calls": max(1, calls)})
        reply = self._receive()
        self.call = reply["seconds"]
        return np.asarray(reply["output"])

    def turn(self, lead_in: int, burst: int) -> tuple[list[float], bool]:
        """`burst` samples in ms after `lead_in` uncounted calls, and if its threads then rested."""
        self._send({"do": "turn", "lead_in": lead_in, "burst": burst})
        reply = self._receive()
        return reply["samples"], reply["still"]

    def end(self) -> None:
        """Let it free its runner and leave."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(FAREWELL)

    def kill(self) -> None:
        """End it at once, and what it started; does nothing to a process that has ended."""
        if self._process.poll() is None:
            self.strike()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._said):
            if pipe:
                with suppress(OSError):
                    pipe.close()

    def strike(self) -> None:
        """Send the signal that ends it; from any thread, the pipes stay open."""
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has ended: `_receive` says why
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._death()
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise _raised(self.name, **reply["error"])
        return reply

    def _death(self) -> AttncError:
        """Why there is no reply: how the process ended, and its last words."""
        try:
            code = self._process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            return AttncError(f"the process that ran {self.name} closed its output")
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        words = f": {lines[-1]}" if lines else ""
        return AttncError(f"the process that ran {self.name} ended {how}{words}")


@contextmanager
def processes(
    requests: Sequence[Request], patience: float | None = None
) -> Iterator[list[BenchProcess]]:
    """One loaded child for each request; none outlives the block, however it is left.

    Raises AttncError if the block is still busy with them after `patience` seconds.
    """
    started: list[BenchProcess] = []
    late = threading.Event()

    def lose_patience() -> None:
        late.set()
        for process in started:
            process.strike()

    alarm = threading.Timer(patience or 0, lose_patience)
    try:
        if patience:
            alarm.start()
        for request in requests:
            started.append(BenchProcess(request))
        for process in started:
            process.wait_ready()
        yield started
        for process in started:
            process.end()
    except AttncError as error:
        if late.is_set():
            raise AttncError(
                f"it took more than {patience:g} s to load the model and run it once"
            ) from error
        raise
    finally:
        alarm.cancel()
        for process in started:
            process.kill()


def _raised(
    name: str, message: str, kind: str = "", where: str = "", remedy: str = ""
) -> AttncError:
    """The child's error as one of this process; what is not ours names the runner."""
    known = getattr(errors, kind, AttncError) if kind else AttncError
    text = message if kind else f"{name} failed: {message}"
    error: AttncError = known(text, where=where, remedy=remedy)
    return error
