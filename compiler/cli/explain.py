"""`attnc explain`: what each pass did to a model, and where it nearly matched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnc.compiler.cli.options import (
    JsonOption,
    ModelOptions,
    parse_batch,
    parse_image_size,
    parse_options,
)

if TYPE_CHECKING:
    from attnc.compiler.cli.api import Explanation


def explain(
    model: Annotated[
        str, typer.Argument(help="As for `attnc export`: a name, a factory, .onnx or .pt2.")
    ],
    target: Annotated[str, typer.Option(help="What it is for: `attnc list targets`.")] = "cpu",
    profile: Annotated[str | None, typer.Option(help="The device, as for export.")] = None,
    image_size: Annotated[str | None, typer.Option(help="Pixels, as for export.")] = None,
    batch: Annotated[str, typer.Option(help="Pictures per call, as for export.")] = "1",
    checkpoint: Annotated[Path | None, typer.Option(help="Weights, as for export.")] = None,
    option: ModelOptions = None,
    json: JsonOption = None,
) -> None:
    """Show matches, node counts and near-misses of each pass; writes no bundle."""
    from attnc.compiler.cli.api import explain as explain_model
    from attnc.compiler.cli.console import progress, write_json

    with progress() as shown:
        explanation = explain_model(
            model,
            target=target,
            profile=profile,
            image_size=parse_image_size(image_size),
            batch=parse_batch(batch),
            checkpoint=checkpoint,
            options=parse_options(option),
            progress=shown,
        )
    write_json(explanation.as_json(), json)
    if json != "-":
        _print(explanation)


def _print(explanation: Explanation) -> None:
    from attnc.compiler.cli.console import print_table

    rows = [
        [
            record.name,
            str(record.matches),
            str(record.nodes_before),
            str(record.nodes_after),
            str(len(record.near_misses)),
            f"{record.seconds:.2f}",
            record.reason,
        ]
        for record in explanation.records
    ]
    columns = ["pass", "matches", "nodes", "after", "near-misses", "seconds", "why it is there"]
    print_table(f"{explanation.model} for {explanation.target}", columns, rows)
    misses = [
        [record.name, miss.reason, miss.node, miss.module, miss.source]
        for record in explanation.records
        for miss in record.near_misses
    ]
    if misses:
        print_table("near-misses", ["pass", "reason", "node", "torch module", "line"], misses)
    kept = [[place.node, place.reason, place.module, place.source] for place in explanation.kept]
    if kept:
        print_table(
            "on their function bodies", ["operator", "reason", "torch module", "line"], kept
        )
