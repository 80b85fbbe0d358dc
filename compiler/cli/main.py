"""The `attnc` command: one file per sub-command, imported when it is asked for."""

from __future__ import annotations

from typing import Annotated

import typer

from attnc.compiler.cli.bench import bench
from attnc.compiler.cli.bisect import bisect
from attnc.compiler.cli.compare import compare
from attnc.compiler.cli.crossover import crossover
from attnc.compiler.cli.device import app as device_app
from attnc.compiler.cli.doctor import doctor
from attnc.compiler.cli.explain import explain
from attnc.compiler.cli.export import export
from attnc.compiler.cli.gate import gate
from attnc.compiler.cli.guard import GuardedGroup
from attnc.compiler.cli.listing import list_things
from attnc.compiler.cli.mil import mil
from attnc.compiler.cli.package import package
from attnc.compiler.cli.report import report
from attnc.compiler.cli.run import run
from attnc.compiler.cli.sign import sbom, sign
from attnc.compiler.cli.verify import verify

app = typer.Typer(
    name="attnc",
    cls=GuardedGroup,
    help="Attention compiler: trace a vision model, rewrite its graph, emit a bundle for a "
    "device, prove that it is right and fast.",
    epilog="Exit codes: 0 ok, 1 a check failed, 2 usage, 3 unsupported, 4 a runtime is missing, "
    "5 no verdict (gate), 130 interrupted.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        import attnc

        typer.echo(f"attnc {attnc.__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options before the command."""


app.command("export")(export)
app.command("verify")(verify)
app.command("bisect")(bisect)
app.command("bench")(bench)
app.command("crossover")(crossover)
app.command("gate")(gate)
app.command("run")(run)
app.add_typer(device_app)
app.command("explain")(explain)
app.command("mil")(mil)
app.command("package")(package)
app.command("report")(report)
app.command("compare")(compare)
app.command("sign")(sign)
app.command("sbom")(sbom)
app.command("list")(list_things)
app.command("doctor")(doctor)


def main() -> None:
    """Entry point of the `attnc` command."""
    app()


if __name__ == "__main__":
    main()
