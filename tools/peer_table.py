"""Time a list of models against their peers and write the table of the README.

python -m attnc.tools.peer_table --models shvit_s1,deit_small --into README.md
A run may measure some of the models: their rows replace the old ones, the others stay.
"""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from attnc.compiler.cli.console import note
from attnc.compiler.cli.options import parse_names
from attnc.tools.table_page import merge_into, replace_table

Report = dict[str, Any]
MODELS = (
    *("shvit_s1", "shvit_s2", "shvit_s3", "shvit_s4"),
    *("deit_small", "evit_small_k070", "evit_small_k070_fuse"),
    *("evit_small_k050", "evit_small_k050_fuse", "evit_base_k070"),
    *("sparsifiner_s", "sparsifiner_s_384"),
    *("tic_layer_c64_k3", "tic_layer_c128_k7"),
    *("glnet_4g", "glnet_stl"),
)
PEERS = "ort,openvino,torch,torch-compile,executorch"


def attnc(*arguments: str, limit: float | None = None) -> None:
    """Run the command line in a process of its own; its messages go to stderr.

    Raises subprocess.SubprocessError if it fails, or takes longer than `limit` seconds.
    """
    note("$ attnc " + " ".join(arguments))
    command = [sys.executable, "-m", "attnc", *arguments]
    subprocess.run(command, check=True, stdout=sys.stderr, timeout=limit)


def measure(model: str, folder: Path, options: list[str], limit: float) -> Report:
    """Export, verify and bench one model, in `limit` seconds each; returns the bench's report."""
    bundle, report = folder / model, folder / f"{model}.json"
    attnc("export", model, "--target", "cpu", "-o", str(bundle), "--force", limit=limit)
    attnc("verify", str(bundle), limit=limit)
    attnc("bench", str(bundle), *options, "--json", str(report), limit=limit)
    loaded: Report = json.loads(report.read_text(encoding="utf-8"))
    loaded["measured"] = datetime.date.today().isoformat()
    report.write_text(json.dumps(loaded, indent=1), encoding="utf-8")
    shutil.rmtree(bundle)
    return loaded


def measure_all(
    names: tuple[str, ...], folder: Path, options: list[str], limit: float, *, resume: bool
) -> tuple[list[Report], list[str]]:
    """The reports of the models, and those that failed; what `resume` finds is not measured."""
    reports, failed = [], []
    for name in names:
        held = folder / f"{name}.json"
        if resume and held.is_file():
            note(f"{name}: taken from {held}")
            reports.append(json.loads(held.read_text(encoding="utf-8")))
            continue
        try:
            reports.append(measure(name, folder, options, limit))
        except subprocess.SubprocessError as error:
            note(f"{name} has no row: {error}")
            failed.append(name)
    return reports, failed


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


def conditions(report: Report) -> str:
    """One sentence: when, where, with what; the same for all reports of a run."""
    machine, method = report["machine"], report["method"]
    runs = method["sittings"] * method["rounds"] * method["burst"]
    most = "medians of up to" if method.get("budget") else "medians of"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"measured {report['measured']} on {machine['cpu']}, {machine['cores']} cores "
        f"({', '.join(machine['features'])}), Python {machine['python']}, {versions}; "
        f"{report['precision']}, {most} {runs} runs taken in turn, each "
        f"runner in a process of its own that was started {method['sittings']} times, in brackets "
        "the 95 % interval of the ratio."
    )


def left_out(reports: list[Report]) -> str:
    """What is not in the table though it was asked for, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for report in reports:
        for miss in report.get("left_out", ()):
            models = reasons.setdefault((miss["runner"], miss["reason"]), [])
            if report["model"] not in models:
                models.append(report["model"])
    return "\n".join(
        f"- {runner} is not in the rows of {', '.join(models)}: {reason}"
        for (runner, reason), models in reasons.items()
    )


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def text_of(reports: list[Report]) -> str:
    """All that stands between the marks of the page."""
    groups: dict[str, list[str]] = {}
    for report in reports:
        groups.setdefault(conditions(report), []).append(report["model"])
    said = [f"{', '.join(models)}: {sentence}" for sentence, models in groups.items()]
    parts = [table(reports), footprint_table(reports), left_out(reports), *said]
    return "\n\n".join(part for part in parts if part)


def main(
    models: Annotated[str, typer.Option(help="Names, comma-separated.")] = ",".join(MODELS),
    against: Annotated[str, typer.Option(help="As for attnc bench.")] = PEERS,
    threads: Annotated[str, typer.Option(help="As for attnc bench.")] = "1,2",
    batch: Annotated[str, typer.Option(help="As for attnc bench.")] = "1,8",
    sittings: Annotated[int, typer.Option(help="As for attnc bench.")] = 3,
    rounds: Annotated[int, typer.Option(help="As for attnc bench.")] = 5,
    budget: Annotated[int, typer.Option(help="As for attnc bench.")] = 90,
    patience: Annotated[int, typer.Option(help="As for attnc bench.")] = 240,
    limit: Annotated[int, typer.Option(help="Seconds that each step of a model may take.")] = 2400,
    keep: Annotated[Path, typer.Option(help="Folder for the reports.")] = Path("build/table"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Take reports that the folder holds as they are.")
    ] = False,
    into: Annotated[
        Path | None, typer.Option(help="A page whose table gets the rows, between its marks.")
    ] = None,
) -> None:
    """Export, verify and time each model, then print the table in markdown.

    A model that fails has no row; the others go on, and the exit code is 1.
    """
    options = ["--against", against, "--threads", threads, "--batch", batch]
    options += ["--sittings", str(sittings), "--rounds", str(rounds)]
    options += ["--budget", str(budget), "--patience", str(patience)]
    keep.mkdir(parents=True, exist_ok=True)
    names = parse_names(models, "--models")
    reports, failed = measure_all(names, keep, options, limit, resume=resume)
    if reports:
        text = text_of(reports)
        print(text)
        if into:
            page = into.read_text("utf-8")
            into.write_text(replace_table(page, merge_into(page, text, MODELS)), "utf-8")
    if failed:
        note(f"no row: {', '.join(failed)}")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
