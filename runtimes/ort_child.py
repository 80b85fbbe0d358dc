"""Writes a model in ORT format: in a process of its own, `python -m attnc.runtimes.ort_child`.

A file lists all operator domains of the process that writes it, those of any library that was
loaded for another model among them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from attnc.compiler.errors import AttncError
from attnc.runtimes.onnx_session import open_session, session_options

#: As the converter of ONNX Runtime has it for Arm.
ENTRIES = {"session.save_model_format": "ORT", "session.qdqisint8allowed": "1"}
X86_ONLY = ("NchwcTransformer",)


def write(model: Path, output: Path, library: Path | None) -> None:
    """Optimise `model` as for an Arm CPU and write it to `output`.

    Raises what `open_session` and `session_options` raise.
    """
    options = session_options(None, library)
    for name, value in ENTRIES.items():
        options.add_session_config_entry(name, value)
    options.optimized_model_filepath = str(output)
    open_session(model, options, without=X86_ONLY)


def main(arguments: list[str]) -> int:
    """MODEL OUTPUT [LIBRARY]; what is wrong goes to standard error, in one line."""
    model, output, *library = map(Path, arguments)
    try:
        write(model, output, library[0] if library else None)
    except AttncError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
