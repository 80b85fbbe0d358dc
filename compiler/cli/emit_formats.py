"""The same rewritten graph once more, for apps that have LiteRT or ExecuTorch already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnc.compiler.cli.emitting import Emitted, Emitter, Labels
from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.manifest_parts import FormatEntry
from attnc.compiler.progress import Progress
from attnc.runtimes.formats import BY_NAME, Format, require

if TYPE_CHECKING:
    import onnx_ir as ir

    from attnc.compiler.trace.traced import TracedModel

#: Always written.
ONNX = "onnx"
#: Targets whose bundles can hold other formats.
TARGETS = ("android", "arm64")


def formats_of(names: Sequence[str], target: str) -> tuple[Format, ...]:
    """The formats to write besides ONNX, in a fixed order.

    Raises UsageError for an unknown one or another target, MissingRuntimeError for one whose
    converter is not installed.
    """
    for name in names:
        if name != ONNX and name not in BY_NAME:
            raise UsageError(
                f"unknown format {name!r}", remedy=f"one of: {', '.join((ONNX, *BY_NAME))}"
            )
    found = tuple(entry for name, entry in BY_NAME.items() if name in names)
    if found and target not in TARGETS:
        raise UsageError(
            f"target {target} has no format {found[0].name}",
            remedy=f"leave --format out, or export for --target {' or '.join(TARGETS)}",
        )
    for entry in found:
        require(entry)
    return found


class FormatsEmitter:
    """What another emitter writes, and `model.tflite` or `model.pte` beside it; see `Emitter`."""

    def __init__(self, inner: Emitter, formats: Sequence[Format]) -> None:
        self.inner, self.formats = inner, tuple(formats)
        names = ", ".join(entry.name for entry in formats)
        self.stage = f"{inner.stage}, converting to {names}"

    def refusals(self, model: ir.Model) -> Sequence[Any]:
        """See `Emitter`."""
        return self.inner.refusals(model)

    def emit(
        self, traced: TracedModel, folder: Path, progress: Progress, labels: Labels = None
    ) -> Emitted:
        """The converters get a copy of the graph, because lowering changes it."""
        if traced.batch == "dynamic":
            raise UnsupportedError(
                f"{self.formats[0].name} files have one batch size; this model's is free",
                remedy="export with --batch N, or leave --format out",
            )
        copy = traced.model.clone()
        emitted = self.inner.emit(traced, folder, progress, labels)
        shape = [int(size) for size in traced.input.shape]
        entries = write_formats(copy, shape, folder, self.formats)
        return replace(emitted, fields={**emitted.fields, "formats": entries})


def write_formats(
    model: ir.Model, shape: Sequence[int], folder: Path, formats: Sequence[Format]
) -> tuple[FormatEntry, ...]:
    """Write the graph, which is prepared in place, in each format.

    Raises UnsupportedError naming the node that has no form, or what a converter refuses.
    """
    import torch

    from attnc.runtimes.machine import package_versions
    from attnc.targets.torch_forms.network import capture, network

    module = network(model)
    capture(module, shape)
    found = []
    for entry in formats:
        file = f"model.{entry.name}"
        data = entry.runner_class.lower(module, torch.zeros(tuple(shape)))
        (folder / file).write_bytes(data)
        versions = package_versions(tuple(package for _, package in entry.packages))
        found.append(FormatEntry(format=entry.name, model=file, converters=versions))
    return tuple(found)
