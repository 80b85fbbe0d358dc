"""Send the runner with its files, run it once, and bring back what it wrote."""

from __future__ import annotations

import json
import shlex
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.errors import AttncError, MissingRuntimeError, UsageError

from .place import Place
from .request import Request
from .shell import Done, Shell

#: Exit codes of the runner (see `src/text.h`), and of a shell that could not start it.
USAGE, FILE, LIBRARY = 2, 3, 4
NOT_STARTED = (126, 127)
MOST_CASES = 64


@dataclass(frozen=True)
class Files:
    """What the device needs, on this machine."""

    runner: Path
    model: Path
    kernels: Path | None
    ort: Path

    def all(self) -> list[Path]:
        """Every file that there is."""
        return [f for f in (self.runner, self.model, self.kernels, self.ort) if f is not None]


@dataclass(frozen=True)
class Ran:
    """The runner's report, and the first output of every input in order."""

    report: dict[str, Any]
    outputs: list[NDArray[Any]]


def execute(
    place: Place, files: Files, name: str, arrays: list[NDArray[np.float32]], request: Request
) -> Ran:
    """Run the model on every array; the first is timed.

    Raises AttncError with what the runner says, or that it crashed; what the shell raises.
    """
    with tempfile.TemporaryDirectory(prefix="attnc-device-") as scratch:
        here = Path(scratch)
        command = _command(place, files, request)
        for index, array in enumerate(arrays[:MOST_CASES]):
            command += ["--input", _send(place, here, index, name, array)]
        line = " ".join(shlex.quote(word) for word in command)
        # Without `exit` a shell may become the runner: a signal would look like a lost connection.
        line = f"cd {place.work} && {line}; exit $?"
        done = place.shell.run(line, request.patience)
        if done.code:
            raise _failed(place.shell, done)
        return _fetch(place, here, len(arrays[:MOST_CASES]))


def _command(place: Place, files: Files, request: Request) -> list[str]:
    runner = place.put(files.runner)
    done = place.shell.run(f"chmod 700 {shlex.quote(runner)}")
    if done.code:
        raise place.shell.not_written(runner, done.error)
    options = {
        "--model": place.put(files.model),
        "--ort": place.put(files.ort),
        "--kernels": place.put(files.kernels) if files.kernels else None,
        "--output-dir": place.work,
        "--threads": request.threads,
        "--cpus": request.cpus,
        "--warmup": request.warmup,
        "--iterations": request.iterations,
        "--seconds": request.seconds or None,
    }
    given = ((key, str(value)) for key, value in options.items() if value is not None)
    return [runner, *(word for pair in given for word in pair)]


def _send(place: Place, here: Path, index: int, name: str, array: NDArray[np.float32]) -> str:
    """Push an input; returns it as the runner takes it."""
    local, remote = here / f"input{index}.raw", f"{place.work}/input{index}.raw"
    np.ascontiguousarray(array, np.float32).tofile(local)
    place.shell.push(local, remote)
    return f"{name}={remote}@{'x'.join(str(size) for size in array.shape)}"


def _fetch(place: Place, here: Path, cases: int) -> Ran:
    place.shell.pull(f"{place.work}/report.json", here / "report.json")
    try:
        report = json.loads((here / "report.json").read_text("utf-8"))
        first: dict[int, dict[str, Any]] = {}
        for entry in report["outputs"]:
            first.setdefault(entry["case"], entry)
        outputs = [_array(place, here, first[index]) for index in range(cases)]
    except (ValueError, KeyError, OSError) as error:
        raise AttncError(
            f"what came back from {place.shell.name} is not whole: {error}",
            remedy="run the command again",
        ) from error
    return Ran(report, outputs)


def _array(place: Place, here: Path, entry: dict[str, Any]) -> NDArray[Any]:
    local = here / Path(entry["file"]).name
    place.shell.pull(f"{place.work}/{local.name}", local)
    return np.fromfile(local, np.dtype(entry["dtype"])).reshape(entry["shape"])


def _failed(shell: Shell, done: Done) -> AttncError:
    """The error for a runner that did not end well."""
    said = (done.error.strip().splitlines() or ["it says nothing"])[-1]
    said = said.removeprefix("attnc-runner: ")
    if done.code > 128:
        number = done.code - 128
        name = signal.Signals(number).name if number in list(signal.Signals) else str(number)
        hint = " (out of memory?)" if number == signal.SIGKILL else ""
        return AttncError(
            f"the runner crashed on {shell.name} with signal {name}{hint}",
            remedy="try one thread, --format onnx, and another ONNX Runtime library",
        )
    if done.code in NOT_STARTED:
        return MissingRuntimeError(f"the runner does not start on {shell.name}: {said}")
    if done.code == LIBRARY:
        return MissingRuntimeError(
            f"on {shell.name}: {said}", remedy="give a library for this device with --ort FILE"
        )
    kind = UsageError if done.code in (USAGE, FILE) else AttncError
    return kind(f"the runner on {shell.name} stopped: {said}")
