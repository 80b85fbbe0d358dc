"""`attnc verify` for a report: the same checks, by target, as the document that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attnc.compiler.bundle import Bundle
from attnc.compiler.cli.api import rebuild_reference
from attnc.compiler.progress import Progress


def verify_now(bundle: Bundle, images: Path | None, progress: Progress) -> dict[str, Any]:
    """Run the checks of the bundle's target. Raises AttncError if they cannot even begin."""
    target = bundle.manifest.target
    check = {"coreml": _coreml, "tensorrt": _tensorrt}.get(target, _plain)
    return check(bundle, images, progress)


def _plain(bundle: Bundle, images: Path | None, progress: Progress) -> dict[str, Any]:
    from attnc.runtimes.verify import verify

    return verify(bundle, lambda: rebuild_reference(bundle), images, progress).as_json()


def _coreml(bundle: Bundle, images: Path | None, progress: Progress) -> dict[str, Any]:
    from attnc.compiler.cli.coreml_twin import write_twin
    from attnc.compiler.source import rebuild
    from attnc.runtimes.coreml.verify import Source, verify_coreml

    source = Source(lambda: rebuild(bundle), lambda folder: write_twin(bundle, folder))
    return verify_coreml(bundle, source, images, progress).as_json()


def _tensorrt(bundle: Bundle, images: Path | None, progress: Progress) -> dict[str, Any]:
    from attnc.compiler.cli.plain import write_plain
    from attnc.runtimes.tensorrt.verify import Source, verify_tensorrt

    source = Source(lambda: rebuild_reference(bundle), lambda folder: write_plain(bundle, folder))
    return verify_tensorrt(bundle, source, images, (), progress).as_json()
