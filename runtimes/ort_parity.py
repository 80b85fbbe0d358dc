"""Do `model.ort` and `model.onnx` of a bundle give the same numbers, with the same kernels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.manifest_parts import OrtFormatEntry
from attnc.runtimes.checks import Check, parity_check
from attnc.runtimes.compare import compare
from attnc.runtimes.onnx_session import infer, open_session, session_options, session_specs
from attnc.runtimes.tolerance import Tolerance

NAME = "ort-format/parity"


def ort_format_check(
    bundle: Bundle,
    entry: OrtFormatEntry,
    library: Path | None,
    inputs: Sequence[NDArray[Any]],
    tolerance: Tolerance,
) -> Check:
    """The input on which the two files are furthest apart; `library` is None without kernels.

    Raises UsageError if ONNX Runtime cannot load one of them.
    """
    if library is None and bundle.manifest.kernels:
        reason = "the ORT format has no function bodies, and no kernels run here"
        return Check(NAME, "not-verified", reason=reason)
    files = (bundle.path / entry.model, bundle.model_path)
    sessions = [open_session(file, session_options(None, library)) for file in files]
    if session_specs(sessions[0]) != session_specs(sessions[1]):
        return Check(NAME, "failed", reason="its inputs and outputs are not those of model.onnx")
    port, output = bundle.manifest.inputs[0].name, bundle.manifest.outputs[0].name
    found = []
    for array in inputs:
        ours, theirs = (infer(session, {port: array})[output] for session in sessions)
        found.append(parity_check(NAME, compare(ours, theirs), tolerance.limit(theirs)))
    return max(found, key=_excess)


def _excess(check: Check) -> float:
    value = np.inf if check.value is None else check.value
    return float(value / (check.limit or 1.0))
