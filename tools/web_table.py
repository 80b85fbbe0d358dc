"""The table of web benchmarks on a page, from reports of `attnc bench --json`.

python -m attnc.tools.web_table shvit.json evit.json --into docs/web.md
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from attnc.compiler.errors import UsageError
from attnc.tools.table_page import Grid, replace_table

PLAIN, OURS = "ort-web-plain", "ort-web"
HEAD = ["model", "threads", "engine, ms", "plain, ms", "engine / plain", "ready, ms"]
#: Where `model.onnx` was timed as well.
SAME = ["model.onnx, ms", "model.onnx / plain"]


def rows_of(report: dict[str, Any]) -> list[dict[str, str]]:
    """One row per number of threads. Raises UsageError if the plain export was not timed."""
    ours = [row for row in report["results"] if row["runner"] == "attnc"]
    theirs = {row["threads"]: row for row in report["results"] if row["runner"] == PLAIN}
    standard = {row["threads"]: row for row in report["results"] if row["runner"] == OURS}
    rows = []
    for row in ours:
        if row["threads"] not in theirs:
            raise UsageError(
                f"the report of {report['model']} has no {PLAIN}", remedy="leave --against out"
            )
        same = standard.get(row["threads"])
        cells = [
            report["model"],
            str(row["threads"]),
            f"{row['median_ms']:.1f}",
            f"{theirs[row['threads']]['median_ms']:.1f}",
            _ratio(row),
            f"{report['ready_ms'][str(row['threads'])]:.0f}",
        ]
        rows.append(dict(zip(HEAD, cells, strict=True)))
        if same is not None:
            rows[-1] |= dict(zip(SAME, (f"{same['median_ms']:.1f}", _ratio(same)), strict=True))
    return rows


def _ratio(row: dict[str, Any]) -> str:
    low, high = row["ratio_interval"][PLAIN]
    return f"{row['ratio_to'][PLAIN]:.2f} [{low:.2f}, {high:.2f}]"


def table(reports: Sequence[dict[str, Any]], day: str) -> str:
    """Markdown: the rows, and with what they were measured."""
    rows = [row for report in reports for row in rows_of(report)]
    columns = HEAD + (SAME if any(SAME[0] in row for row in rows) else [])
    rows = [{name: row.get(name, "") for name in columns} for row in rows]
    machine = reports[0]["machine"]
    samples = sorted({row["n"] for report in reports for row in report["results"]})
    browser = reports[0].get("browser")
    where = f" in {browser}" if browser else ""
    return (
        f"{Grid(columns, rows).text()}\n\n"
        f"Measured {day} on {machine['cpu']}, {machine['cores']} cores, {reports[0]['runtime']}"
        f"{where}, "
        f"{reports[0]['precision']}; medians of {' and '.join(map(str, samples))} runs, in "
        "brackets the 95 % interval of the ratio."
    )


def main(
    reports: Annotated[list[Path], typer.Argument(help="Reports of `attnc bench --json`.")],
    into: Annotated[Path | None, typer.Option(help="A page with marks for the table.")] = None,
) -> None:
    """Print the table, or put it between the marks of a page."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in reports]
    text = table(found, datetime.date.today().isoformat())
    if into is None:
        print(text)
        return
    page = replace_table(into.read_text(encoding="utf-8"), text)
    into.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
