"""Count the kernels of a list of models in TensorRT for RTX, ours and the plain export's.

python -m attnc.tools.tensorrt_table --models shvit_s1,deit_small --into docs/tensorrt.md
No GPU is needed, and nothing is timed: these are the kernels that an engine was built with.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from attnc.compiler.cli.console import note
from attnc.compiler.cli.options import parse_names
from attnc.runtimes.machine import package_versions
from attnc.tools.table_page import merge_into, replace_table

MODELS = (
    *("shvit_s1", "shvit_s2", "shvit_s3", "shvit_s4"),
    *("deit_small", "evit_small_k070", "evit_small_k070_fuse", "evit_small_k050", "evit_base_k070"),
    *("sparsifiner_s", "sparsifiner_lvvit_s", "sparsifiner_s_384"),
    *("tic_layer_c64_k3", "tic_tiny"),
    *("glnet_stl", "glnet_4g"),
)
HEAD = (
    *("model", "precision", "kernels", "plain", "fused attentions", "plain attentions"),
    *("plugins", "plan MB", "plain MB"),
)


def measure(model: str, precision: str, profile: str, sm: str) -> list[str]:
    """The cells of one row. Raises subprocess.CalledProcessError if the model does not verify."""
    with TemporaryDirectory(prefix="attnc-table-") as place:
        bundle, report = Path(place) / model, Path(place) / "report.json"
        options = ["--target", "tensorrt", "--profile", profile, "--precision", precision]
        _attnc("export", model, *options, "-o", str(bundle))
        _attnc("verify", str(bundle), "--sm", sm, "--json", str(report))
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    (ours,), (plain,) = found["builds"], found["baseline"]
    return [
        model,
        precision,
        *(str(item["kernels"]) for item in (ours, plain)),
        *(str(item["fused_attentions"]) for item in (ours, plain)),
        str(ours["plugin_layers"]),
        *(f"{item['plan_bytes'] / 1e6:.1f}" for item in (ours, plain)),
    ]


def _attnc(*arguments: str) -> None:
    note("$ attnc " + " ".join(arguments))
    subprocess.run([sys.executable, "-m", "attnc", *arguments], check=True, stdout=sys.stderr)


def text_of(rows: list[list[str]], sm: str) -> str:
    """Markdown: the table and the sentence on how it came about."""
    lines = [list(HEAD), ["---", *["---:"] * (len(HEAD) - 1)], *rows]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    models = ", ".join(dict.fromkeys(row[0] for row in rows))
    versions = package_versions(("tensorrt-rtx", "attnc", "torch", "onnx"))
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    today = datetime.date.today().isoformat()
    return (
        f"{table}\n\n{models}: measured {today} with {said}; built for sm_{sm} at batch 1 without "
        "a GPU, nothing was run on one."
    )


def main(
    models: Annotated[str, typer.Option(help="Names, comma-separated.")] = ",".join(MODELS),
    precision: Annotated[str, typer.Option(help="fp16, fp32 or bf16, or several.")] = "fp16",
    profile: Annotated[str, typer.Option(help="As for attnc export.")] = "rtx4090",
    sm: Annotated[str, typer.Option(help="The architecture to build for.")] = "89",
    into: Annotated[
        Path | None, typer.Option(help="A page whose table gets the rows, between its marks.")
    ] = None,
) -> None:
    """Export and verify each model, then print the table in markdown.

    A model that fails has no row; the others go on, and the exit code is 1.
    """
    rows, failed = [], []
    for name in parse_names(models, "--models"):
        for number in parse_names(precision, "--precision"):
            try:
                rows.append(measure(name, number, profile, sm))
            except subprocess.CalledProcessError as error:
                note(f"{name} in {number} has no row: {error}")
                failed.append(name)
    if rows:
        text = text_of(rows, sm)
        print(text)
        if into:
            page = into.read_text("utf-8")
            into.write_text(replace_table(page, merge_into(page, text, MODELS)), "utf-8")
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
