"""`attnc export`: from a model to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnc.compiler.cli.options import (
    CheckpointOption,
    FormatOption,
    JsonOption,
    MetadataOption,
    ModelOptions,
    PrecisionOption,
    parse_batch,
    parse_formats,
    parse_image_size,
    parse_metadata,
    parse_options,
)

if TYPE_CHECKING:
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.manifest import TensorrtEntry, Verdict


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A model's name (`attnc list models`), package.module:factory, "
            "an .onnx file or a .pt2 archive of torch.export."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The bundle's folder; written whole or not.")
    ],
    target: Annotated[str, typer.Option(help="What it is for: `attnc list targets`.")] = "cpu",
    checkpoint: CheckpointOption = None,
    image_size: Annotated[
        str | None, typer.Option(help="Pixels: 256, or 320x192 (height x width).")
    ] = None,
    batch: Annotated[
        str,
        typer.Option(
            help="Pictures per call: a number, or `dynamic` (for Core ML one of 1, 2, 4 and 8)."
        ),
    ] = "1",
    num_classes: Annotated[
        int | None, typer.Option(help="Classes of the head; the model's own without it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights without a checkpoint.")] = 0,
    option: ModelOptions = None,
    profile: Annotated[
        str | None, typer.Option(help="The device: `attnc list profiles`, or a .toml file.")
    ] = None,
    precision: PrecisionOption = None,
    labels: Annotated[
        Path | None, typer.Option(help="Class names, one per line, to go into the bundle.")
    ] = None,
    metadata: MetadataOption = None,
    format: FormatOption = None,
    no_kernels: Annotated[
        bool, typer.Option("--no-kernels", help="Leave the kernels out.")
    ] = False,
    no_measure: Annotated[
        bool,
        typer.Option("--no-measure", help="Keep every fused operator without comparing its body."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace all of an output folder that is not empty.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Trace a model, rewrite its graph and write a bundle.

    Example: attnc export shvit_s4 --target cpu -o build/s4
    """
    from attnc.compiler.cli.api import export as export_bundle
    from attnc.compiler.cli.console import progress, write_json

    size, pictures = parse_image_size(image_size), parse_batch(batch)
    with progress() as shown:
        bundle = export_bundle(
            model,
            target=target,
            output=output,
            profile=profile,
            precision=precision,
            image_size=size,
            batch=pictures,
            num_classes=num_classes,
            checkpoint=checkpoint,
            seed=seed,
            options=parse_options(option),
            labels=labels,
            metadata=parse_metadata(metadata),
            formats=parse_formats(format),
            kernels=not no_kernels,
            measure=False if no_measure else None,
            force=force,
            progress=shown,
        )
    _summary(bundle)
    document = bundle.manifest.model_dump(mode="json")
    write_json({"path": str(bundle.path), "manifest": document}, json)


def _summary(bundle: Bundle) -> None:
    """What was written, and what did not become what it could."""
    from attnc.compiler.cli.console import note

    manifest = bundle.manifest
    total = sum(entry.bytes for entry in manifest.files)
    note(f"{bundle.path}: {manifest.model} for {manifest.target}, {total / 1e6:.1f} MB")
    for verdict in manifest.verdicts:
        if verdict.verdict == "body":
            better = "faster" if manifest.tensorrt is None else "better"
            note(f"{better} as standard operators: {verdict.operator} ({_why(verdict)})")
    if manifest.tensorrt is not None:
        _note_engines(manifest.tensorrt, manifest.profile)
    for place in manifest.not_lowered:
        note(f"on its function body: {place.node} ({place.module}): {place.reason}")


def _why(verdict: Verdict) -> str:
    return verdict.reason or verdict.shapes


def _note_engines(entry: TensorrtEntry, profile: str) -> None:
    """Say what was built, and where the rest can be."""
    from attnc.compiler.cli.console import note

    for build in entry.builds:
        note(
            f"engine for sm_{build.sm}, {build.precision}: {build.kernels} kernels, "
            f"{build.attentions} fused attentions, {build.plugin_layers} plugins, "
            f"{build.plan_bytes / 1e6:.1f} MB"
        )
    if not entry.builds:
        note("no engine was built: TensorRT for RTX is not installed (attnc[tensorrt])")
    if entry.plan is None:
        note(f"build the engine on the device of profile {profile} with ./build.sh")
