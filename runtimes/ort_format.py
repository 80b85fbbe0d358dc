"""ORT format: the model as ONNX Runtime's optimiser leaves it, for builds that read nothing else.

All optimisations are applied now, not saved for later ("Fixed"): the CPU compiles nothing, so what
the other style leaves open would never be done. Blocked layouts of x86 are left out, as Arm has
none. Custom operators stay; function bodies do not exist in this format.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path

from attnc.compiler.bundle import MODEL_FILE
from attnc.compiler.errors import UsageError
from attnc.compiler.manifest_parts import OrtFormatEntry
from attnc.runtimes.onnx_session import import_onnxruntime, session_options
from attnc.runtimes.ort_canonical import canonical, operators

ORT_FILE = "model.ort"
OPERATORS_FILE = "required_operators.config"


def write_ort_format(folder: Path, library: Path | None) -> OrtFormatEntry:
    """Write `model.ort` and the list of its operators beside the `model.onnx` of a bundle.

    `library` holds this machine's kernels; None puts the function bodies in place of operators.
    The same model gives the same bytes. Raises what `convert` raises.
    """
    data = convert(folder / MODEL_FILE, library)
    (folder / ORT_FILE).write_bytes(data)
    (folder / OPERATORS_FILE).write_text(operator_list(data), encoding="utf-8")
    return OrtFormatEntry(
        model=ORT_FILE, operators=OPERATORS_FILE, converter=import_onnxruntime().__version__
    )


def convert(model: Path, library: Path | None) -> bytes:
    """An ONNX file in ORT format, optimised for Arm.

    Raises UsageError if ONNX Runtime refuses the model, or writes a format that is not known here;
    MissingRuntimeError if it is not installed or cannot load the library.
    """
    session_options(None, library)  # what is missing here is told here
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / ORT_FILE
        _write(model, written, library)
        data = written.read_bytes()
    try:
        return canonical(data)
    except ValueError as error:
        version = import_onnxruntime().__version__
        raise UsageError(
            f"ONNX Runtime {version} did not write the ORT format as expected: {error}",
            where=str(model),
            remedy="install onnxruntime 1.32",
        ) from error


def _write(model: Path, written: Path, library: Path | None) -> None:
    files = [str(file.absolute()) for file in (model, written, library) if file is not None]
    command = [sys.executable, "-P", "-m", "attnc.runtimes.ort_child", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not written.is_file():
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UsageError(
            f"{model.name} cannot be converted to ORT format: {said[-1]}", where=str(model)
        )


def operator_list(data: bytes) -> str:
    """What `--include_ops_by_config` of ONNX Runtime's build reads: domain;version;names."""
    lines = [f"# the operators of {ORT_FILE}"]
    for (domain, version), group in groupby(operators(data), key=lambda entry: entry[:2]):
        lines.append(f"{domain};{version};{','.join(name for _, _, name in group)}")
    return "\n".join(lines) + "\n"
