"""The source model as a function of arrays, whatever it came as: parity is measured against it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Function = Callable[[NDArray[np.float32]], NDArray[Any]]


def reference_function(reference: Any) -> Function:
    """`reference` is a torch module, or the path of an .onnx file; runs in float32."""
    if isinstance(reference, Path):
        return _onnx_function(reference)
    return lambda array: _call(reference, array)


def exact_function(reference: Any) -> Function:
    """As `reference_function`, in float64 where the source can be moved to it.

    Float64 hides the order of summation, so that recording twice gives the same bytes.
    """
    if isinstance(reference, Path):
        return _onnx_function(reference, threads=1)
    try:
        double = copy.deepcopy(reference).double()
    except Exception:  # a module may refuse to be copied or converted
        return _single_threaded(reference)

    def run(array: NDArray[np.float32]) -> NDArray[Any]:
        try:
            return _call(double, array.astype(np.float64))
        except RuntimeError:  # float32 is written into its code
            return _single_threaded(reference)(array)

    return run


def _call(module: Any, array: NDArray[Any]) -> NDArray[Any]:
    import torch

    with torch.inference_mode():
        output: Any = module(torch.from_numpy(array))
    while isinstance(output, (tuple, list, dict)):
        output = next(iter(output.values() if isinstance(output, dict) else output))
    return np.asarray(output.numpy())


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread as long as it lasts: the same order of summation on every run."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _single_threaded(module: Any) -> Function:
    def run(array: NDArray[np.float32]) -> NDArray[Any]:
        with one_thread():
            return _call(module, array)

    return run


def _onnx_function(path: Path, threads: int | None = None) -> Function:
    from attnc.runtimes.onnx_session import infer, open_session, session_options

    session = open_session(path, session_options(threads))
    name = session.get_inputs()[0].name
    return lambda array: next(iter(infer(session, {name: array}).values()))


def half_function(reference: Any) -> Function | None:
    """As `reference_function`, in float16; None where the source does not compute in it."""
    if isinstance(reference, Path):
        return None
    try:
        half = copy.deepcopy(reference).half()
    except Exception:  # a module may refuse to be copied or converted
        return None
    return lambda array: _call(half, array.astype(np.float16)).astype(np.float32)
