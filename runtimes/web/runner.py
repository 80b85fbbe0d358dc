"""A web bundle in the engine on this machine: what `attnc run` and `attnc verify` use."""

from __future__ import annotations

from typing import ClassVar

from attnc.compiler.bundle import Bundle
from attnc.runtimes.runner import Feed, Outputs, Runner
from attnc.runtimes.web.engine import WasmEngine

#: The two builds of one thread.
BUILDS = ("relaxed", "simd")


class WebRunner(Runner):
    """Runs the program of a bundle in WebAssembly; `simd` is one of `BUILDS`."""

    name: ClassVar[str] = "web"

    def __init__(self, bundle: Bundle, simd: str = BUILDS[0]) -> None:
        entry = bundle.manifest.web
        assert entry is not None
        self.folder, self.simd = bundle.path / entry.folder, simd
        self._engine: WasmEngine | None = None
        self.inputs, self.outputs = bundle.manifest.inputs, bundle.manifest.outputs

    def activate(self) -> None:
        """Load the engine and the program. Raises MissingRuntimeError without wasmtime."""
        self._engine = WasmEngine(self.folder, self.simd)

    def infer(self, feed: Feed) -> Outputs:
        """Run all steps."""
        assert self._engine is not None
        return self._engine.run(feed)

    def deactivate(self) -> None:
        """Drop the engine."""
        self._engine = None
