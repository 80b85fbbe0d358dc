"""`attnc bisect`: where a bundle goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnc.compiler.cli.options import JsonOption

if TYPE_CHECKING:
    from attnc.compiler.cli.proving import Finding


def bisect(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    repro: Annotated[
        Path | None,
        typer.Option(help="A folder to write for a wrong pass: both graphs, input, a script."),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Narrow a wrong result down to a stage, a pass or an operator, its module and source line.

    Looks at files, trace, every pass, lowering with its weights, and every node of the bundle on
    the inputs that really reach it, each in float64. Exit code 1 if something is wrong.
    """
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.cli.bisecting import Bisection
    from attnc.compiler.cli.console import note, progress, write_json
    from attnc.compiler.errors import ExitCode

    with progress() as shown:
        finding = Bisection(Bundle.open(bundle, check=False), repro, shown).run()
    write_json(finding.as_json(), json)
    for line in _lines(finding):
        note(line)
    if finding.stage != "nothing":
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _lines(finding: Finding) -> list[str]:
    lines = [f"right: {', '.join(finding.looked) or 'nothing'}"]
    if finding.stage == "nothing":
        return [*lines, finding.said]
    named = f" ({finding.name})" if finding.name else ""
    lines.append(f"wrong: {finding.stage}{named}: {finding.said}")
    if finding.place is not None:
        place = finding.place
        error = "not finite" if place["error"] is None else f"{place['error']:.2g}"
        lines.append(f"  node: {place['operator']} {place['node']}, error {error}")
        lines.append(f"  module: {place['module'] or 'unknown'}, line: {place['source'] or '?'}")
    if finding.repro:
        lines.append(f"  to see it: cd {finding.repro} && python repro.py")
    return lines
