"""`attnc verify`: is the bundle right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnc.compiler.cli.options import JsonOption

_MARK = {"verified": "ok", "failed": "FAILED", "build-only": "built", "not-verified": "not run"}


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    images: Annotated[
        Path | None,
        typer.Option(help="A folder of photographs; scikit-learn's two without it."),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Check a bundle's files, and its outputs against the model it was made from.

    Seeded inputs and real photographs, with the kernels and without them. Exit code 1 if a check
    fails or none could run.
    """
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.cli.api import rebuild_reference
    from attnc.compiler.cli.console import note, print_table, progress, write_json
    from attnc.compiler.errors import ExitCode
    from attnc.runtimes.verify import verify as verify_bundle

    opened = Bundle.open(bundle)
    with progress() as shown:
        report = verify_bundle(opened, lambda: rebuild_reference(opened), images, shown)
    write_json(report.as_json(), json)
    if json != "-":
        rows = [
            [c.name, _MARK[c.status], _number(c.value), _number(c.limit), c.reason]
            for c in report.checks
        ]
        print_table(opened.manifest.model, ["check", "status", "value", "limit", "reason"], rows)
    note("verified" if report.ok else "NOT verified")
    if not report.ok:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
