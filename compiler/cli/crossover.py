"""`attnc crossover`: from which keep rate and token count on sparsity pays on this device."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnc.compiler.cli.options import JsonOption, parse_numbers, parse_rates

if TYPE_CHECKING:
    from attnc.runtimes.crossover import Cell


def crossover(
    model: Annotated[
        str, typer.Argument(help="An EViT, DeiT or Sparsifiner of `attnc list models`.")
    ],
    keep: Annotated[
        str | None, typer.Option(help="Keep rates, as in 0.9,0.7; the family's without it.")
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(help="Square pictures, in pixels, as in 160,224,320.")
    ] = None,
    batch: Annotated[str | None, typer.Option(help="Batch sizes; 1,8 without it.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Intra-op threads.")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="One size, batch 1, two keep rates, few samples.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw the figures into this PNG.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Time a sparse model against its dense twin over keep rate, token count and batch.

    All models of a size and batch are compiled here and timed in turn. The twin of EViT keeps all
    tokens, that of Sparsifiner is DeiT-S; other families have none (exit code 3).
    """
    from attnc.compiler.cli.console import progress
    from attnc.compiler.cli.twins import grid_of
    from attnc.runtimes.crossover_plot import need_matplotlib, plot

    grid = grid_of(
        model,
        keeps=parse_rates(keep, "--keep") if keep else None,
        sizes=parse_numbers(image_size, "--image-size") if image_size else None,
        batches=parse_numbers(batch, "--batch") if batch else None,
        quick=quick,
    )
    if output is not None:
        need_matplotlib()
    with progress() as shown, tempfile.TemporaryDirectory(prefix="attnc-crossover-") as folder:
        cells = grid.run(Path(folder), threads, shown)
    if output is not None:
        plot(cells, f"{model}, {threads} thread(s),\nagainst {grid.dense_name}", output)
    _report(model, grid.dense_name, threads, cells, json)


def _report(model: str, dense: str, threads: int, cells: list[Cell], json: str | None) -> None:
    from attnc.compiler.cli.console import note, print_table, write_json
    from attnc.runtimes.crossover import crossovers
    from attnc.runtimes.machine import machine_info

    found = crossovers(cells)
    document = {
        "model": model,
        "dense": dense,
        "threads": threads,
        "cells": [cell.as_json() for cell in cells],
        "crossovers": found,
        "machine": machine_info(),
    }
    write_json(document, json)
    if json == "-":
        return
    columns = ["image", "tokens", "batch", "keep", "ms", "dense ms", "time / dense"]
    columns += ["FLOPs / dense", "time / FLOPs"]
    print_table(f"{model} against {dense}, {threads} thread(s)", columns, list(map(_row, cells)))
    for entry in found:
        note(_sentence(entry))


def _row(cell: Cell) -> list[str]:
    low, high = cell.interval
    return [
        str(cell.image_size),
        str(cell.tokens),
        str(cell.batch),
        f"{cell.keep:g}",
        f"{cell.sparse_ms:.3f}",
        f"{cell.dense_ms:.3f}",
        f"{cell.latency_ratio:.3f} [{low:.3f}, {high:.3f}]",
        f"{cell.flop_ratio:.3f}",
        f"{cell.realised:.3f}",
    ]


def _sentence(entry: dict[str, Any]) -> str:
    if "pays_from_keep" in entry:
        where, pays = f"{entry['tokens']} tokens, batch {entry['batch']}", entry["pays_from_keep"]
        what = "" if pays is None else f"from keep rate {pays:g} downwards"
    else:
        where, pays = (
            f"keep rate {entry['keep']:g}, batch {entry['batch']}",
            entry["pays_from_tokens"],
        )
        what = "" if pays is None else f"from {pays:g} tokens upwards"
    return f"{where}: " + (f"pays {what}" if what else "does not pay where it was measured")
