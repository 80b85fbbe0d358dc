"""Sessions of ONNX Runtime, with or without our kernel library: the only file that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnc.compiler.errors import MissingRuntimeError, UsageError
from attnc.compiler.manifest import TensorSpec
from attnc.runtimes.runner import Feed, Outputs

_TYPES = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(double)": np.dtype(np.float64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(uint8)": np.dtype(np.uint8),
}


def import_onnxruntime() -> Any:
    """The onnxruntime module. Raises MissingRuntimeError if it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingRuntimeError(
            f"ONNX Runtime cannot be imported: {error}", remedy="pip install 'onnxruntime>=1.17'"
        ) from error
    return onnxruntime


def session_options(threads: int | None = None, library: Path | None = None) -> Any:
    """Default session options; `threads` sets the intra-op pool, `library` adds our kernels.

    Raises MissingRuntimeError if the library cannot be loaded on this machine.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    if library is not None:
        try:
            options.register_custom_ops_library(str(library.absolute()))
        except Exception as error:
            raise MissingRuntimeError(
                f"the kernel library {library.name} cannot be loaded on this machine: "
                f"{_first_line(error)}",
                where=str(library),
                remedy="export the bundle on this machine, or run it without kernels, slower "
                "(--no-kernels, attnc.open(path, kernels=False))",
            ) from error
    return options


def open_session(model: Path | bytes, options: Any, without: Sequence[str] = ()) -> Any:
    """An InferenceSession on the CPU, `without` some optimisers.

    Raises UsageError if ONNX Runtime refuses the model.
    """
    ort = import_onnxruntime()
    held = model if isinstance(model, bytes) else str(model)
    try:
        return ort.InferenceSession(
            held, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(without)
        )
    except Exception as error:
        name = "a model in memory" if isinstance(model, bytes) else model.name
        raise UsageError(
            f"ONNX Runtime {ort.__version__} cannot load {name}: {_first_line(error)}",
            where="" if isinstance(model, bytes) else str(model),
        ) from error


def session_specs(session: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and the outputs of a session."""
    return _specs(session.get_inputs()), _specs(session.get_outputs())


def _specs(nodes: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=node.name,
            dtype=str(_TYPES.get(node.type, node.type)),
            shape=tuple(size if isinstance(size, int) else size or "?" for size in node.shape),
        )
        for node in nodes
    )


def infer(session: Any, feed: Feed) -> Outputs:
    """Run a session; outputs by name."""
    names = [node.name for node in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feed)), strict=True))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
