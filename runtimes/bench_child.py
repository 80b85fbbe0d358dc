"""One runner in a process of its own: the child of `attnc bench`.

Lines of JSON come in on stdin (the request, then orders), each is answered by one on stdout, and
the end of stdin ends the process. What libraries print goes to stderr.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import IO, Any

from attnc.compiler.errors import AttncError
from attnc.runtimes.request import Files, Request


def main() -> None:
    """Serve the benchmark."""
    answer(_serve)


def answer(serve: Callable[[IO[bytes]], Iterator[dict[str, Any]]]) -> None:
    """Reply to the lines on stdin with what `serve` yields, until it ends; an error is the last
    reply."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when this process ends
    with _private_stdout() as replies:
        try:
            for reply in serve(sys.stdin.buffer):
                _write(replies, reply)
        except AttncError as error:
            _write(replies, {"error": _described(error)})
        except Exception as error:
            text = (str(error).strip().splitlines() or [""])[0]
            _write(replies, {"error": {"message": f"{type(error).__name__}: {text}"}})


def _serve(orders: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The reply to each line: to the request when the runner is loaded, then to each order."""
    first = json.loads(orders.readline())
    sys.path[:] = first.pop("path")
    request = Request(**{**first, "files": Files(**first["files"])})
    with ExitStack() as stack:
        call = _load(request, stack)
        gc.collect()
        gc.disable()  # it stays out of the samples
        yield {}
        for line in orders:
            yield _obey(json.loads(line), call)


def _load(request: Request, stack: ExitStack) -> Callable[[], Any]:
    """The runner on its input; `stack` frees the runner."""
    from attnc.compiler.seeded_input import seeded_input

    module, _, function = request.factory.partition(":")
    runner = getattr(importlib.import_module(module), function)(request.files, request.threads)
    stack.enter_context(runner)
    feed = {runner.inputs[0].name: seeded_input(tuple(request.shape), request.seed)}
    return lambda: runner.infer(feed)


def _obey(order: dict[str, Any], call: Callable[[], Any]) -> dict[str, Any]:
    """Warm up, which gives the output, or take a turn, which gives samples; then come to rest."""
    if order["do"] == "warm-up":
        for _ in range(order["calls"]):
            begin = time.perf_counter()
            outputs = call()
        seconds = time.perf_counter() - begin
        settle()
        return {"output": next(iter(outputs.values())).tolist(), "seconds": seconds}
    for _ in range(order["lead_in"]):
        call()
    samples = [_timed(call) for _ in range(order["burst"])]
    return {"samples": samples, "still": settle()}


def _timed(call: Callable[[], Any]) -> float:
    """Milliseconds of one call."""
    begin = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - begin) / 1e6


def settle(limit: float = 0.5, step: float = 0.002) -> bool:
    """Sleep until no thread of this process computes any more; False after `limit` seconds.

    Idle threads of a runtime spin for a while and would take a core from whoever is next.
    """
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        begin, used = time.perf_counter(), time.process_time()
        time.sleep(step)
        if time.process_time() - used < 0.1 * (time.perf_counter() - begin):
            return True
    return False


def _private_stdout() -> IO[bytes]:
    """The pipe to the parent; from here on the process's stdout is its stderr."""
    sys.stdout.flush()
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _write(replies: IO[bytes], reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply).encode() + b"\n")
    replies.flush()


def _described(error: AttncError) -> dict[str, str]:
    """By the class of `compiler.errors` that it is, so that the parent can raise it again."""
    kinds = [kind for kind in type(error).__mro__ if kind.__module__ == AttncError.__module__]
    return {
        "kind": kinds[0].__name__,
        "message": error.message,
        "where": error.where,
        "remedy": error.remedy,
    }


if __name__ == "__main__":
    main()
