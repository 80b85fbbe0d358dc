"""Count the operations of a list of models in Core ML: attnc's, and plain coremltools.convert's.

python -m attnc.tools.coreml_table --models shvit_s1,deit_small --ios 16,18 --page docs/coreml.md
Nothing is run and nothing is timed: no Mac is needed.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from attnc.compiler.cli.console import note
from attnc.compiler.cli.options import parse_names
from attnc.compiler.errors import UsageError
from attnc.runtimes.machine import package_versions
from attnc.tools.coreml_counts import MAKERS, check
from attnc.tools.table_page import Grid, merge_into, replace_table

MODELS = (
    *("shvit_s1", "shvit_s4"),
    *("deit_small", "evit_small_k070", "evit_small_k070_fuse"),
    "sparsifiner_s",
    *("tic_layer_c64_k3", "tic_tiny"),
    *("glnet_stl", "glnet_4g"),
)
#: Columns with attnc's figure and coremltools', and their names among the counts.
PAIRS = {
    "transposes, reshapes": "rearranged",
    "gathers": "gathers",
    "casts": "casts",
    "float32 results": "wide",
    "largest rank": "rank",
}
COLUMNS = ["model", "iOS", "attnc", "coremltools", "ratio", *PAIRS]


@dataclass(frozen=True)
class Case:
    """A model and a deployment target, with what was found of each maker's program."""

    model: str
    ios: int
    found: dict[str, dict[str, Any]]

    def row(self) -> dict[str, str]:
        """The cells; a maker without a program has dashes."""
        counts = {maker: self.found[maker].get("counts") for maker in MAKERS}
        ours, plain = counts["attnc"], counts["coremltools"]
        cells = {"model": self.model, "iOS": str(self.ios)}
        cells |= {maker: _figure(counts[maker], "operations") for maker in MAKERS}
        cells["ratio"] = f"{ours['operations'] / plain['operations']:.2f}" if ours and plain else ""
        for column, name in PAIRS.items():
            cells[column] = " / ".join(_figure(each, name) for each in (ours, plain))
        return cells


def measure(model: str, ios: int, precision: str) -> Case:
    """Both programs, each in a process of its own; one that crashes has failed."""
    found = {maker: _measured(maker, model, ios, precision) for maker in MAKERS}
    return Case(model, ios, found)


def _measured(maker: str, model: str, ios: int, precision: str) -> dict[str, Any]:
    note(f"{model} for iOS {ios} by {maker}")
    with TemporaryDirectory(prefix="attnc-table-") as place:
        into = Path(place) / "counts.json"
        options = ["--ios", str(ios), "--precision", precision, "--into", str(into)]
        command = [sys.executable, "-m", "attnc.tools.coreml_counts", maker, model, *options]
        done = subprocess.run(command, check=False, stdout=sys.stderr)
        if not into.is_file():
            return {"failed": f"the process ended with {done.returncode}"}
        found: dict[str, Any] = json.loads(into.read_text(encoding="utf-8"))
    return found


def _figure(counts: dict[str, int] | None, name: str) -> str:
    return "-" if counts is None else str(counts[name])


def text_of(cases: list[Case], precision: str) -> str:
    """Markdown: the table, how it came about, and why coremltools did not take a model."""
    table = Grid(COLUMNS, [case.row() for case in cases]).text()
    models = ", ".join(dict.fromkeys(case.model for case in cases))
    versions = package_versions(("attnc", "coremltools", "torch"))
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    today = datetime.date.today().isoformat()
    measured = (
        f"{models}: measured {today} with {said}; {precision}, batch 1, a tensor as input. Of two "
        "figures the first is attnc's; squeeze and expand_dims count as reshapes."
    )
    return "\n\n".join([table, measured, *filter(None, [left_out(cases)])])


def left_out(cases: list[Case]) -> str:
    """One item per reason: models that coremltools refused, from torch.export or altogether."""
    models: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        plain = case.found["coremltools"]
        failed, refused = plain.get("failed"), plain.get("refused")
        if failed:
            models.setdefault(("coremltools", failed), []).append(case.model)
        if refused:
            reason = f"converted from torch.jit.trace after {refused}"
            models.setdefault(("torch.export", reason), []).append(case.model)
    return "\n".join(
        f"- {who} is not in the rows of {', '.join(dict.fromkeys(names))}: {reason}"
        for (who, reason), names in models.items()
    )


def main(
    models: Annotated[str, typer.Option(help="Names, comma-separated.")] = ",".join(MODELS),
    ios: Annotated[str, typer.Option(help="Deployment targets, comma-separated.")] = "16,17,18",
    precision: Annotated[str, typer.Option(help="fp16 or fp32.")] = "fp16",
    page: Annotated[
        Path | None, typer.Option(help="A page whose table gets the rows, between its marks.")
    ] = None,
) -> None:
    """Make both programs of each model, then print the table in markdown.

    The exit code is 1 if attnc fails for a model; the others have their rows all the same.
    """
    targets = [_version(text, precision) for text in parse_names(ios, "--ios")]
    names = parse_names(models, "--models")
    cases = [measure(name, target, precision) for name in names for target in targets]
    kept = [case for case in cases if "counts" in case.found["attnc"]]
    if kept:
        text = text_of(kept, precision)
        print(text)
        if page:
            old = page.read_text("utf-8")
            page.write_text(replace_table(old, merge_into(old, text, MODELS)), "utf-8")
    for case in cases:
        if case not in kept:
            note(f"{case.model} for iOS {case.ios} has no row: {case.found['attnc']['failed']}")
    if len(kept) < len(cases):
        raise typer.Exit(1)


def _version(text: str, precision: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"--ios {text!r} is no version", remedy="numbers, as in 16,18")
    check(int(text), precision)
    return int(text)


if __name__ == "__main__":
    typer.run(main)
