"""From a bundle's record of its source back to the source, for verification and benchmarks.

What lies outside the bundle (a checkpoint, an .onnx file, somebody's package) may have moved or
changed since the export; both are said, and a changed one is never taken for the source.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    from torch import nn

SOURCE_PATH, CHECKPOINT_PATH = "source_path", "checkpoint_path"


def source_paths(source: Any, checkpoint: str | Path | None) -> dict[str, str]:
    """Where the outside parts of a source lie now; goes into `readings.json`."""
    paths = {}
    if isinstance(source, (str, Path)) and Path(source).suffix.lower() in {".onnx", ".pt2"}:
        paths[SOURCE_PATH] = str(Path(source).absolute())
    if checkpoint is not None:
        paths[CHECKPOINT_PATH] = str(Path(checkpoint).absolute())
    return paths


def trace_options(bundle: Bundle) -> dict[str, Any]:
    """Arguments of `attnc.compiler.trace.trace` that give the bundle's source again, less `batch`.

    Raises UnsupportedError if nothing says how to make it, UsageError if a file is gone.
    """
    info = bundle.manifest.source
    if not info.rebuildable:
        raise UnsupportedError(
            f"{info.name} was handed over as a module; nothing on disk says how to build it",
            where=str(bundle.path),
            remedy="export from package.module:factory",
        )
    options, checkpoint = dict(info.options), info.checkpoint_name
    height, width = bundle.manifest.inputs[0].shape[2:]
    from_file = info.kind in {"onnx", "exported-program"}
    return {
        "source": _outside(bundle, SOURCE_PATH, info.name) if from_file else info.name,
        "image_size": (int(height), int(width)),
        "num_classes": options.pop("num_classes", None),
        "checkpoint": _checkpoint(bundle, checkpoint),
        "seed": info.seed or 0,
        "options": options,
    }


def rebuild(bundle: Bundle) -> nn.Module | Path:
    """The source as a torch module in eval mode, or the path of the .onnx file that it was.

    Raises UnsupportedError or UsageError if it is not to be had, or is not what was exported.
    """
    from attnc.compiler.trace import network
    from attnc.compiler.trace.archive import load_archive
    from attnc.compiler.trace.hashing import hash_initializers, hash_state_dict
    from attnc.compiler.trace.onnx_file import load_onnx
    from attnc.compiler.trace.request import check_request

    kind = bundle.manifest.source.kind
    options = trace_options(bundle)
    source = options.pop("source")
    if kind == "onnx":
        _same(bundle, hash_initializers(load_onnx(source).graph))
        return Path(source)
    if kind == "exported-program":
        program = load_archive(source)
        _same(bundle, hash_state_dict(program.state_dict))
        return program.module()
    request = check_request(**options, batch=1)
    build = network.from_registry if kind == "registry" else network.from_factory
    module = build(source, request).module
    _same(bundle, hash_state_dict(module.state_dict()))
    return module


def _checkpoint(bundle: Bundle, name: str | None) -> Path | None:
    """The file of weights; None for seeded ones, and for those that come with the model."""
    from attnc.compiler.trace.network import SHIPPED

    if name is None or name.startswith(SHIPPED):
        return None
    return _outside(bundle, CHECKPOINT_PATH, name)


def _outside(bundle: Bundle, key: str, name: str) -> Path:
    path = bundle.readings().get(key)
    if isinstance(path, str) and Path(path).is_file():
        return Path(path)
    raise UsageError(
        f"{name}, which the bundle was made from, is not where it was",
        where=str(path or "the bundle does not say where"),
        remedy="put it back, or export the bundle again",
    )


def _same(bundle: Bundle, found: str) -> None:
    if found != bundle.manifest.source.weights_sha256:
        raise UsageError(
            f"{bundle.manifest.source.name} has other weights now than when it was exported",
            where=str(bundle.path),
            remedy="export the bundle again",
        )
