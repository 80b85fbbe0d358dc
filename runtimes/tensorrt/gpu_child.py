"""One engine on the GPU, in a process of its own: TensorRT may abort, a kernel may crash.

Lines of JSON come in on stdin (the request, then orders), each is answered by one on stdout, and
the end of stdin ends the process. What libraries print goes to stderr.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from attnc.compiler.errors import MissingRuntimeError
from attnc.compiler.seeded_input import seeded_input
from attnc.runtimes.bench_child import answer
from attnc.runtimes.cuda.driver import Driver, open_driver
from attnc.runtimes.tensorrt.gpu_build import build_here
from attnc.runtimes.tensorrt.gpu_loaded import LoadedEngine


def main() -> None:
    """Serve until stdin ends; an error is the last reply."""
    answer(_serve)


def _serve(orders: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The reply to the request, then to each order."""
    request = json.loads(orders.readline())
    sys.path[:] = request.pop("path")
    with ExitStack() as stack:
        driver = stack.enter_context(open_driver(request["fake"]))
        trt = _runtime(request["runtime"])
        if request["do"] == "build":
            yield build_here(trt, driver, request)
            return
        engine = stack.enter_context(_loaded(trt, driver, request))
        gc.collect()
        gc.disable()  # it stays out of the samples
        yield engine.about()
        for line in orders:
            yield _obey(json.loads(line), engine)


def _runtime(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingRuntimeError(
            f"{name} does not load: {error}", remedy=f"pip install {name.replace('_', '-')}"
        ) from error


def _loaded(trt: Any, driver: Driver, request: dict[str, Any]) -> LoadedEngine:
    plugin = Path(request["plugin"]) if request["plugin"] else None
    return LoadedEngine(trt, driver, Path(request["plan"]), plugin)


def _obey(order: dict[str, Any], engine: LoadedEngine) -> dict[str, Any]:
    """run: the output for an array; prepare: an input of this shape, warm, captured; then turns."""
    if order["do"] == "run":
        return {"output": engine.run(np.load(order["input"], allow_pickle=False)).tolist()}
    if order["do"] == "prepare":
        shape = tuple(order["shape"])
        for _ in range(order["calls"]):
            output = engine.run(seeded_input(shape, order["seed"]))
        return {"graph_problem": engine.capture(), "output": output.tolist()}
    if order["do"] == "turn":
        return {"samples": engine.turn(order["lead_in"], order["burst"], graph=order["graph"])}
    return {"ms": engine.back_to_back(order["calls"], graph=order["graph"])}


if __name__ == "__main__":
    main()
