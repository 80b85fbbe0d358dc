"""Time a list of models against their peers and print the table of the README.

python -m attnc.tools.peer_table --models shvit_s1,shvit_s4 --threads 1,2 --batch 1,8
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from attnc.compiler.cli.console import note
from attnc.compiler.cli.options import parse_names
from attnc.compiler.errors import UsageError

Report = dict[str, Any]
MARKS = ("<!-- table -->", "<!-- /table -->")


def attnc(*arguments: str) -> None:
    """Run the command line in a process of its own; its messages go to stderr."""
    note("$ attnc " + " ".join(arguments))
    subprocess.run([sys.executable, "-m", "attnc", *arguments], check=True, stdout=sys.stderr)


def measure(model: str, folder: Path, options: list[str]) -> Report:
    """Export, verify and bench one model; returns the report of `attnc bench`."""
    bundle, report = folder / model, folder / f"{model}.json"
    attnc("export", model, "--target", "cpu", "-o", str(bundle), "--force")
    attnc("verify", str(bundle))
    attnc("bench", str(bundle), *options, "--json", str(report))
    loaded: Report = json.loads(report.read_text(encoding="utf-8"))
    return loaded


def table(reports: list[Report]) -> str:
    """Markdown: a row for each model and setting, a column for each peer (ours / theirs)."""
    rows = [row for report in reports for row in _ours(report)]
    peers = list(dict.fromkeys(name for row in rows for name in row["ratio_to"]))
    head = ["model", "threads", "batch", "attnc ms"]
    head += [cell for peer in peers for cell in (f"{peer} ms", f"attnc / {peer}")]
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    for report in reports:
        lines += [_line(_cells(report, row, peers)) for row in _ours(report)]
    return "\n".join(lines)


def _ours(report: Report) -> list[dict[str, Any]]:
    return [row for row in report["results"] if row["runner"] == "attnc"]


def _cells(report: Report, ours: dict[str, Any], peers: list[str]) -> list[str]:
    setting = (ours["threads"], ours["batch"])
    medians = {
        row["runner"]: row["median_ms"]
        for row in report["results"]
        if (row["threads"], row["batch"]) == setting
    }
    cells = [report["model"], str(setting[0]), str(setting[1]), f"{ours['median_ms']:.2f}"]
    for peer in peers:
        if peer not in ours["ratio_to"]:
            cells += ["", ""]
            continue
        low, high = ours["ratio_interval"][peer]
        ratio = f"**{ours['ratio_to'][peer]:.2f}** ({low:.2f}-{high:.2f})"
        cells += [f"{medians[peer]:.2f}", ratio]
    return cells


def footprint_table(reports: list[Report]) -> str:
    """Markdown: session creation and peak memory, ours / ONNX Runtime's; empty if not measured."""
    lines = []
    for report in reports:
        for row in report["footprint"]:
            if "ratio_to" not in row:
                continue
            ratios = row["ratio_to"]["ort"]
            cells = [
                f"{ratios[key]:.2f}" if key in ratios else "" for key in ("create_ms", "peak_mb")
            ]
            lines.append(_line([report["model"], *cells]))
    if not lines:
        return ""
    head = [_line(["model", "session creation", "peak memory"]), _line(["---", "---:", "---:"])]
    return "\n".join([*head, *lines])


def conditions(report: Report, date: str) -> str:
    """One sentence: when, where, with what."""
    machine, method = report["machine"], report["method"]
    runs = method["sittings"] * method["rounds"] * method["burst"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"Measured {date} on {machine['cpu']}, {machine['cores']} cores "
        f"({', '.join(machine['features'])}), Python {machine['python']}, {versions}; "
        f"{report['precision']}, medians of {runs} runs taken in turn, each "
        f"runner in a process of its own that was started {method['sittings']} times, in brackets "
        "the 95 % interval of the ratio."
    )


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(
    models: Annotated[str, typer.Option(help="Names, comma-separated.")] = (
        "shvit_s1,shvit_s2,shvit_s3,shvit_s4"
    ),
    against: Annotated[str, typer.Option(help="As for attnc bench.")] = "ort,torch",
    threads: Annotated[str, typer.Option(help="As for attnc bench.")] = "1,2",
    batch: Annotated[str, typer.Option(help="As for attnc bench.")] = "1,8",
    sittings: Annotated[int, typer.Option(help="As for attnc bench.")] = 3,
    rounds: Annotated[int, typer.Option(help="As for attnc bench.")] = 5,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for bundles and reports; a temporary one without.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="A page in which to replace what stands between its marks.")
    ] = None,
) -> None:
    """Export, verify and time each model, then print the table in markdown."""
    options = ["--against", against, "--threads", threads, "--batch", batch]
    options += ["--sittings", str(sittings), "--rounds", str(rounds)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            reports = [measure(name, folder, options) for name in parse_names(models, "--models")]
        except subprocess.CalledProcessError as error:
            raise SystemExit(error.returncode) from error
    parts = [table(reports), footprint_table(reports)]
    parts.append(conditions(reports[0], datetime.date.today().isoformat()))
    text = "\n\n".join(part for part in parts if part)
    print(text)
    if into:
        into.write_text(replace_table(into.read_text("utf-8"), text), "utf-8")


def replace_table(page: str, text: str) -> str:
    """The page with `text` between its marks; UsageError if it has none."""
    begin, end = page.find(MARKS[0]), page.find(MARKS[1])
    if begin < 0 or end < begin:
        raise UsageError("the page has no place for the table", remedy=f"write {MARKS} into it")
    return page[: begin + len(MARKS[0])] + f"\n{text}\n" + page[end:]


if __name__ == "__main__":
    typer.run(main)
