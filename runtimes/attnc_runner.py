"""Our bundle in ONNX Runtime, with the kernels that it carries for this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import MissingRuntimeError
from attnc.runtimes.onnx_session import infer, open_session, session_options
from attnc.runtimes.request import Files
from attnc.runtimes.runner import Feed, Outputs, Runner


class AttncRunner(Runner):
    """Runs a bundle; `kernels=False` runs the function bodies, in standard operators, slower.

    A bundle that was exported without kernels runs on its bodies either way. `library` takes the
    place of the bundle's own.
    """

    name: ClassVar[str] = "attnc"

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None = None,
        *,
        kernels: bool = True,
        library: Path | None = None,
    ) -> None:
        self.bundle, self.kernels = bundle, kernels
        self._threads, self._library = threads, library
        self._session: Any = None
        self.inputs, self.outputs = bundle.manifest.inputs, bundle.manifest.outputs

    def activate(self) -> None:
        """Create the session. Raises MissingRuntimeError if no kernel library fits this CPU."""
        library = (self._library or host_library(self.bundle)) if self.kernels else None
        options = session_options(self._threads, library)
        self._session = open_session(self.bundle.model_path, options)

    def infer(self, feed: Feed) -> Outputs:
        """Run the session."""
        return infer(self._session, feed)

    def deactivate(self) -> None:
        """Drop the session."""
        self._session = None


def from_files(files: Files, threads: int | None) -> AttncRunner:
    """The runner that the benchmark times."""
    bundle = Bundle.open(Path(files.bundle))
    return AttncRunner(bundle, threads, library=timed_library(bundle))


def timed_library(bundle: Bundle) -> Path | None:
    """The library to time: the bundle's own; of bundles for phones and boards, this machine's.

    Raises what `host_library` raises.
    """
    from attnc.runtimes.cpu.library import host_target, library_path

    manifest = bundle.manifest
    foreign = bool(manifest.kernels) and bundle.kernel_library(host_target()) is None
    if foreign and manifest.target in ("android", "arm64"):
        return library_path()
    return host_library(bundle)


def host_library(bundle: Bundle) -> Path | None:
    """The bundle's kernel library for this machine; None if it was exported without any.

    Raises MissingRuntimeError if it has libraries, but for other machines only.
    """
    from attnc.runtimes.cpu.library import host_target

    if not bundle.manifest.kernels:
        return None
    host = host_target()
    library = bundle.kernel_library(host)
    if library is None:
        held = ", ".join(sorted(entry.target for entry in bundle.manifest.kernels))
        raise MissingRuntimeError(
            f"the bundle has kernels for {held}, none for this machine ({host})",
            where=str(bundle.path),
            remedy="export it on this machine, or run it without kernels, slower "
            "(--no-kernels, attnc.open(path, kernels=False))",
        )
    return library
