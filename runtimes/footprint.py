"""Time to create a session, and peak memory, each in a process of its own.

The child reads VmHWM: unlike ru_maxrss it does not start at the size of the parent that forked it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attnc.compiler.errors import MissingRuntimeError

CALLS = 3  # inferences before the peak is read


@dataclass(frozen=True)
class Session:
    """What the child process is to create: a model, our kernels or none, one input."""

    name: str
    model: str
    library: str | None
    threads: int
    shape: tuple[int, ...]


def footprint(
    sessions: list[Session], repeats: int = 5, advance: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Medians per session over `repeats` fresh processes, taken in turn.

    `create_ms` is the session's creation alone; `peak_mb` the largest resident size of the process
    after a few calls, None where the system does not tell.
    """
    readings: list[list[dict[str, Any]]] = [[] for _ in sessions]
    for _ in range(repeats):
        for index, session in enumerate(sessions):
            readings[index].append(_in_child(session))
            advance()
    return [_summary(s, taken) for s, taken in zip(sessions, readings, strict=True)]


def _summary(session: Session, taken: list[dict[str, Any]]) -> dict[str, Any]:
    peaks = [reading["peak_mb"] for reading in taken if reading["peak_mb"] is not None]
    return {
        "runner": session.name,
        "threads": session.threads,
        "create_ms": round(statistics.median(reading["create_ms"] for reading in taken), 3),
        "peak_mb": round(statistics.median(peaks), 2) if peaks else None,
        "n": len(taken),
    }


def _in_child(session: Session) -> dict[str, Any]:
    command = [sys.executable, "-m", "attnc.runtimes.footprint", json.dumps(asdict(session))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MissingRuntimeError(f"cannot measure the session of {session.name}: {last}")
    reading: dict[str, Any] = json.loads(done.stdout)
    return reading


def _child(spec: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    from attnc.runtimes.onnx_session import import_onnxruntime, open_session, session_options

    import_onnxruntime()  # not part of what is timed
    library = Path(spec["library"]) if spec["library"] else None
    begin = time.perf_counter()
    session = open_session(Path(spec["model"]), session_options(spec["threads"], library))
    create_ms = (time.perf_counter() - begin) * 1e3
    feed = {session.get_inputs()[0].name: np.zeros(spec["shape"], np.float32)}
    for _ in range(CALLS):
        session.run(None, feed)
    return {"create_ms": create_ms, "peak_mb": _peak_mb()}


def _peak_mb() -> float | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)


if __name__ == "__main__":
    print(json.dumps(_child(json.loads(sys.argv[1]))))
