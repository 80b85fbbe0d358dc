"""`attnc report`: everything that is known about bundles, on a page that people look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnc.compiler.cli.options import JsonOption

VerifyOption = Annotated[
    list[Path] | None,
    typer.Option("--verify", help="What `attnc verify --json` wrote; repeatable."),
]
BenchOption = Annotated[
    list[Path] | None,
    typer.Option("--bench", help="What `attnc bench --json` wrote; repeatable."),
]


def report(
    bundles: Annotated[list[Path], typer.Argument(help="The bundles' folders.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The HTML page, in one file.")
    ] = None,
    markdown: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A short table for pull requests; - is stdout."),
    ] = None,
    verify: VerifyOption = None,
    bench: BenchOption = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Photographs to draw on; scikit-learn's two without it."),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Verify each bundle now.")] = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Only read: no profile, no examples of passes, no pictures."),
    ] = False,
    json: JsonOption = None,
) -> None:
    """Draw one page about bundles: parity, latency, time per module, passes, memory, provenance.

    CPU bundles are profiled here, sources are traced again for examples of the passes, and models
    that choose where to look are shown looking. Verifications and benchmarks come from files; where
    a file could be about several bundles, there must be one for each, in their order.
    """
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.cli.console import note, progress, write_json
    from attnc.compiler.errors import UsageError
    from attnc.compiler.staging import write_text
    from attnc.tools.report.gather import Wanted, gather
    from attnc.tools.report.render import render_html, render_markdown

    if output is None and markdown is None and json is None:
        raise UsageError("nothing to write", remedy="name a page with -o, or --json, --markdown")
    if markdown == "-" and json == "-":
        raise UsageError("only one report fits on stdout", remedy="name a file for the other")
    if quick and run:
        raise UsageError("--quick runs nothing, --run does", remedy="leave one of the two out")
    opened = [Bundle.open(bundle) for bundle in bundles]
    wanted = Wanted(tuple(verify or ()), tuple(bench or ()), images, run, quick)
    with progress() as shown:
        document = gather(opened, wanted, shown)
    write_json(document.model_dump(mode="json"), json)
    if markdown == "-":
        typer.echo(render_markdown(document), nl=False)
    elif markdown is not None:
        write_text(Path(markdown), render_markdown(document))
    if output is not None:
        page = render_html(document)
        write_text(output, page)
        note(f"{output}: {len(opened)} bundle(s), {len(page.encode()) / 1e6:.2f} MB")
