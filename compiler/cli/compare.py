"""`attnc compare`: what differs between two bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnc.compiler.cli.options import JsonOption
from attnc.compiler.cli.report import BenchOption, VerifyOption

if TYPE_CHECKING:
    from attnc.tools.report.comparing import Comparison


def compare(
    a: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    b: Annotated[Path, typer.Argument(help="Another one, or another version of it.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="An HTML page, side by side.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Print what is the same, too.")] = False,
    verify: VerifyOption = None,
    bench: BenchOption = None,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Compare outputs on a seeded input.")
    ] = True,
    json: JsonOption = None,
) -> None:
    """Show what differs in source, passes, nodes, operators, kernels, verdicts, sizes, outputs.

    Exit code 0 also when they differ.
    """
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.cli.console import note, progress, write_json
    from attnc.compiler.staging import write_text
    from attnc.tools.report.comparing import compare_bundles
    from attnc.tools.report.gather import Wanted, gather
    from attnc.tools.report.render import render_comparison

    bundles = (Bundle.open(a), Bundle.open(b))
    wanted = Wanted(tuple(verify or ()), tuple(bench or ()), quick=True)
    with progress() as shown:
        shown.stage("reading both bundles")
        one, other = gather(bundles, wanted, shown).bundles
        shown.stage("comparing")
        found = compare_bundles(bundles, (one, other), run=run)
    write_json(found.model_dump(mode="json"), json)
    if output is not None:
        write_text(output, render_comparison(found))
    if json != "-":
        _print(found, everything)
    for miss in found.notes:
        note(f"not compared: {miss.about}: {miss.reason}")
    note(f"{found.differences} difference(s)")


def _print(found: Comparison, everything: bool) -> None:
    from attnc.compiler.cli.console import print_table
    from attnc.tools.report.rounding import shown

    rows = [
        [row.section, row.item, shown(row.a), shown(row.b), shown(row.change)]
        for row in (found.rows if everything else found.differing)
    ]
    if rows:
        columns = ["section", "item", "A", "B", "B / A"]
        print_table(f"A: {found.a}\nB: {found.b}", columns, rows)
