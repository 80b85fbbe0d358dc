"""The table of docs/accuracy.md, from the records of the trainings beside this file.

python -m attnc.tools.train.table --page docs/accuracy.md
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from attnc.tools.table_page import Grid, replace_table
from attnc.tools.train.recipe import RECIPES
from attnc.tools.train.record import CURVES, read_records

#: Shares of all epochs at which the curve is shown.
POINTS = (0.1, 0.25, 0.5, 1.0)


def row_of(record: dict[str, Any]) -> dict[str, str]:
    """The cells of one training."""
    curve = record["curve"]
    cells = {
        "model": record["model"],
        "parameters": f"{record['parameters']:,}",
        "file, kB": f"{record['weights']['bytes'] / 1000:.0f}",
        "epochs": str(len(curve)),
        "loss, first to last": f"{curve[0]['loss']:.2f} to {curve[-1]['loss']:.2f}",
    }
    for share in POINTS:
        epoch = curve[max(1, round(share * len(curve))) - 1]
        title = "held-out accuracy" if share == 1 else f"at {share:.0%}"
        cells[title] = f"{epoch['held_out']:.4f}"
    return cells


def text_of(records: list[dict[str, Any]]) -> str:
    """Markdown: one row per model, in the order of the recipes, and what it was made with."""
    known = list(RECIPES)
    ordered = sorted(records, key=lambda record: known.index(record["model"]))
    rows = [row_of(record) for record in ordered]
    data, versions = ordered[0]["dataset"], ordered[0]["versions"]
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    about = (
        f"{data['training']:,} scans to train on, {data['held-out']} held out; "
        f"seed {ordered[0]['seed']}; {said}."
    )
    return "\n\n".join([Grid(list(rows[0]), rows).text(), about])


def main(
    page: Annotated[
        Path | None, typer.Option(help="A page whose table is replaced, between its marks.")
    ] = None,
    records: Annotated[Path, typer.Option(help="The folder of records.")] = CURVES,
) -> None:
    """Print the table in markdown."""
    text = text_of(read_records(records))
    print(text)
    if page is not None:
        page.write_text(replace_table(page.read_text("utf-8"), text), "utf-8")


if __name__ == "__main__":
    typer.run(main)
