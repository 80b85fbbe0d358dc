"""`attnc package`: from a bundle to what the developer of an app takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnc.compiler.cli.options import JsonOption


def package(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The package's folder; written whole or not.")
    ],
    kind: Annotated[
        str,
        typer.Option(
            help="swiftpm: a Swift package for Xcode, from a coreml bundle; android: a Gradle "
            "project, from an android bundle; web: a page that works offline, from a web bundle."
        ),
    ],
    webgpu: Annotated[
        bool,
        typer.Option("--webgpu", help="For the web: add onnxruntime-web, for ?backend=webgpu."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace all of an output folder that is not empty.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Write a package for apps: the model, typed code that calls it, tests and a sample.

    Example: attnc package build/s4-iphone --kind swiftpm -o build/ShvitS4
    """
    from attnc.compiler.cli.console import note, progress, write_json
    from attnc.tools.packaging.kinds import write_package

    with progress() as shown:
        made = write_package(bundle, kind, output, webgpu=webgpu, force=force, progress=shown)
    note(f"{made.path}: {made.kind} package {made.name}, {len(made.files)} files")
    document = {
        "path": str(made.path),
        "kind": made.kind,
        "name": made.name,
        "files": list(made.files),
    }
    write_json(document, json)
