"""Plain ONNX Runtime on a plain export: the competitor, with its default session."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from attnc.runtimes.onnx_session import infer, open_session, session_options, session_specs
from attnc.runtimes.request import Files
from attnc.runtimes.runner import Feed, Outputs, Runner


class OrtRunner(Runner):
    """Runs an .onnx file in a default session; only the number of threads is set."""

    name: ClassVar[str] = "ort"

    def __init__(self, model: Path, threads: int | None = None) -> None:
        self._model, self._threads = model, threads
        self._session: Any = None

    def activate(self) -> None:
        """Create the session."""
        self._session = open_session(self._model, session_options(self._threads))
        self.inputs, self.outputs = session_specs(self._session)

    def infer(self, feed: Feed) -> Outputs:
        """Run the session."""
        return infer(self._session, feed)

    def deactivate(self) -> None:
        """Drop the session."""
        self._session = None


def from_files(files: Files, threads: int | None) -> OrtRunner:
    """The runner that the benchmark times."""
    return OrtRunner(Path(files.plain), threads)
