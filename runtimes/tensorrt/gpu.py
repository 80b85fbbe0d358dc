"""Engines on the GPU, each in a process of its own, with the environment that it needs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.errors import AttncError, MissingRuntimeError
from attnc.compiler.manifest import TensorrtEntry
from attnc.runtimes.bench_process import BenchProcess
from attnc.runtimes.cuda.device import Device, find_devices
from attnc.runtimes.tensorrt.environment import build_environment

Array = NDArray[Any]
COMMAND = [sys.executable, "-P", "-m", "attnc.runtimes.tensorrt.gpu_child"]
RTX = "tensorrt_rtx"
#: Loading includes compiling for the GPU, building includes trying kernels on it.
LOAD_SECONDS, BUILD_SECONDS, CALL_SECONDS = 600.0, 1800.0, 300.0


@dataclass(frozen=True)
class Host:
    """The Python module of a TensorRT; `fake` is a driver for tests, see `open_driver`."""

    runtime: str
    fake: str = ""

    @property
    def installed(self) -> bool:
        """Whether its package is here."""
        return importlib.util.find_spec(self.runtime) is not None

    @property
    def remedy(self) -> str:
        """How to get it."""
        if self.runtime == RTX:
            return "pip install 'attnc[tensorrt]'"
        return "pip install tensorrt, or on a Jetson the python3-libnvinfer of its JetPack"

    @contextmanager
    def environment(self) -> Iterator[dict[str, str]]:
        """For a process with this runtime."""
        with build_environment() if self.runtime == RTX else nullcontext(dict(os.environ)) as found:
            yield found


#: By the name in the manifest.
HOSTS = {"tensorrt-rtx": Host(RTX), "tensorrt": Host("tensorrt")}


def host_of(entry: TensorrtEntry) -> Host:
    """The TensorRT that a bundle is for."""
    return HOSTS[entry.runtime]


def require_gpu(entry: TensorrtEntry, purpose: str) -> Device:
    """The first GPU. Raises MissingRuntimeError if it or TensorRT is missing."""
    needed = ", ".join(entry.compute_capabilities)
    devices, host = find_devices(), host_of(entry)
    if not devices:
        raise MissingRuntimeError(
            f"{purpose} needs an NVIDIA GPU of compute capability {needed} with its driver, and "
            "there is none here",
            remedy="`attnc verify` checks outputs, kernels and engine builds without a GPU",
        )
    if not host.installed:
        raise MissingRuntimeError(
            f"{purpose} needs the Python package {host.runtime.replace('_', '-')}, and it is not "
            "installed",
            remedy=host.remedy,
        )
    return devices[0]


class GpuProcess(BenchProcess):
    """The parent's end of `gpu_child`. Everything raises AttncError if the child cannot."""

    def __init__(self, name: str, request: dict[str, Any], environment: dict[str, str]) -> None:
        """Start it; the first `reply` is to the request."""
        self.name, self.call = name, 0.0
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `kill`
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            process_group=0,
            env=environment,
        )
        self._send({**request, "path": sys.path})

    def ask(self, order: dict[str, Any], seconds: float = CALL_SECONDS) -> dict[str, Any]:
        """The reply to an order."""
        self._send(order)
        return self.reply(seconds)

    def reply(self, seconds: float) -> dict[str, Any]:
        """The next reply. Raises AttncError after `seconds`, and ends the process."""
        late = threading.Event()

        def lose_patience() -> None:
            late.set()
            self.strike()

        alarm = threading.Timer(seconds, lose_patience)
        alarm.start()
        try:
            return self._receive()
        except AttncError as error:
            if late.is_set():
                raise AttncError(f"{self.name} gave no answer in {seconds:g} s") from error
            said = self._plugins_words()
            if not said:
                raise
            text = f"{error.message}; {said}"
            raise type(error)(text, where=error.where, remedy=error.remedy) from error
        finally:
            alarm.cancel()

    def _plugins_words(self) -> str:
        """What the plugins printed, of which TensorRT passes on no more than a number."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").splitlines()
        return " | ".join(dict.fromkeys(line for line in lines if line.startswith("attnc: ")))


class GpuEngine:
    """A plan that is loaded on the GPU while the context is open.

    Entering raises UnsupportedError if the runtime refuses the plan, MissingRuntimeError if there
    is no driver, no GPU or no runtime.
    """

    def __init__(self, host: Host, plan: Path, plugin: Path | None = None, name: str = "attnc"):
        """`plugin` is the bundle's plugin.py, if the plan has plugins."""
        self.host, self.plan, self.plugin, self.name = host, plan, plugin, name
        self.about: dict[str, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(_temporary()))
            environment = stack.enter_context(self.host.environment())
            request = {"do": "load", "plan": str(self.plan.resolve())}
            request |= _common(self.host, self.plugin)
            self._process = GpuProcess(self.name, request, environment)
            stack.callback(self._process.kill)
            self.about = self._process.reply(LOAD_SECONDS)
            stack.callback(self._process.end)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def run(self, array: Array) -> Array:
        """The output, float32, for an input [B, ...]."""
        path = self._folder / "input.npy"
        np.save(path, array)
        reply = self._process.ask({"do": "run", "input": str(path)})
        return np.asarray(reply["output"], np.float32)

    def prepare(self, shape: tuple[int, ...], calls: int = 1, seed: int = 0) -> tuple[Array, str]:
        """Warm up on a seeded input of this shape and capture it as a CUDA graph.

        Returns the output, and why there is no graph (empty if there is).
        """
        order = {"do": "prepare", "shape": list(shape), "calls": max(1, calls), "seed": seed}
        reply = self._process.ask(order, LOAD_SECONDS)
        return np.asarray(reply["output"], np.float32), reply["graph_problem"]

    def turn(self, lead_in: int, burst: int, *, graph: bool) -> list[float]:
        """The GPU's milliseconds of `burst` calls, one at a time, after some uncounted ones."""
        order = {"do": "turn", "lead_in": lead_in, "burst": burst, "graph": graph}
        samples: list[float] = self._process.ask(order)["samples"]
        return samples

    def back_to_back(self, calls: int, *, graph: bool) -> float:
        """Milliseconds per call where calls queue up."""
        order = {"do": "back-to-back", "calls": calls, "graph": graph}
        return float(self._process.ask(order)["ms"])


def build_on_device(
    host: Host,
    model: Path,
    plan: Path,
    plugin: Path | None = None,
    batch: tuple[int, int, int] | None = None,
) -> None:
    """Build an ONNX file into the file `plan`, for the GPU that is here.

    Raises UnsupportedError with TensorRT's words, AttncError if its process dies.
    """
    request: dict[str, Any] = {"do": "build", "batch": list(batch) if batch else None}
    request |= {"model": str(model.resolve()), "plan": str(plan.resolve())}
    request |= _common(host, plugin)
    with host.environment() as environment:
        process = GpuProcess(f"the build of {model.name}", request, environment)
        try:
            process.reply(BUILD_SECONDS)
            process.end()
        finally:
            process.kill()


def _common(host: Host, plugin: Path | None) -> dict[str, Any]:
    plugged = str(plugin.resolve()) if plugin else None
    return {"runtime": host.runtime, "fake": host.fake, "plugin": plugged}


def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="attnc-gpu-")
