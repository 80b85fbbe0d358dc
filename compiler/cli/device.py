"""`attnc device run`: is the bundle right and fast on a phone or a board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from attnc.compiler.cli.options import JsonOption

if TYPE_CHECKING:
    from attnc.runtimes.device.shell import Shell

app = typer.Typer(name="device", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Phones and boards, over adb or ssh."""


@app.command("run")
def run(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    adb: Annotated[bool, typer.Option("--adb", help="An Android device.")] = False,
    serial: Annotated[
        str | None, typer.Option(help="Which one, as `adb devices` names it; implies --adb.")
    ] = None,
    ssh: Annotated[
        str | None, typer.Option(metavar="HOST", help="A Linux board, as for ssh: user@host.")
    ] = None,
    ssh_config: Annotated[
        Path | None, typer.Option(help="In the place of ~/.ssh/config: port, key, name.")
    ] = None,
    ort: Annotated[
        Path | None,
        typer.Option(help="libonnxruntime.so for the device, from a wheel's capi/ or an AAR."),
    ] = None,
    form: Annotated[
        Literal["onnx", "ort"], typer.Option("--format", help="Which of the bundle's models.")
    ] = "onnx",
    threads: Annotated[int, typer.Option(min=1, help="Intra-op threads.")] = 1,
    cpus: Annotated[str | None, typer.Option(help="Cores to stay on, as in 4-7.")] = None,
    warmup: Annotated[int, typer.Option(min=0, help="Runs before the first sample.")] = 5,
    iterations: Annotated[int, typer.Option(min=1, help="Samples at least.")] = 20,
    seconds: Annotated[float, typer.Option(min=0, help="Time of samples at least.")] = 5.0,
    max_temperature: Annotated[
        float, typer.Option(help="Degrees Celsius of the processor before the run, at most.")
    ] = 60.0,
    patience: Annotated[float, typer.Option(min=1, help="Seconds for the whole run.")] = 600.0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave model and libraries there for the next run.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Run a bundle on a device: outputs against the source, latency, temperature and clocks.

    Needs no Python there: a runner is sent with the model, and removed again. Exit code 1 if the
    outputs differ, 3 if the device is of another architecture, 4 if it cannot be reached.
    """
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.cli.api import rebuild_reference
    from attnc.compiler.cli.console import note, progress, write_json
    from attnc.compiler.errors import ExitCode
    from attnc.runtimes.device.request import Request, find_ort, model_file
    from attnc.runtimes.device.run import run_on_device

    connect = _way(adb or serial is not None, serial, ssh, ssh_config)
    opened = Bundle.open(bundle)
    model_file(opened, form)
    library = find_ort(ort, opened.manifest.target)
    request = Request(
        library, form, threads, cpus, warmup, iterations, seconds, max_temperature, patience, keep
    )
    with progress() as shown:
        report = run_on_device(opened, connect, request, lambda: rebuild_reference(opened), shown)
    write_json(report, json)
    if json != "-":
        _show(report)
    note("verified" if report["ok"] else "NOT verified")
    if not report["ok"]:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _way(adb: bool, serial: str | None, host: str | None, config: Path | None) -> Any:
    """How the device is reached, as a function that connects."""
    from attnc.compiler.errors import UsageError

    if adb == (host is not None):
        raise UsageError(
            "one way to the device is needed", remedy="--adb (with --serial) or --ssh HOST"
        )

    def connect() -> Shell:
        from attnc.runtimes.device.adb import AdbShell
        from attnc.runtimes.device.ssh import SshShell

        return AdbShell(serial) if host is None else SshShell(host, config)

    return connect


def _show(report: dict[str, Any]) -> None:
    from attnc.compiler.cli.console import print_table

    checks = [
        [c["name"], c["status"], _number(c["value"]), _number(c["limit"]), c["reason"]]
        for c in report["checks"]
    ]
    print_table(report["model"], ["check", "status", "value", "limit", "reason"], checks)
    (row,), (size,) = report["results"], report["footprint"]
    figures = [
        str(row["threads"]),
        *(f"{row[key]:.3f}" for key in ("median_ms", "p90_ms", "p99_ms")),
        str(row["n"]),
        _number(size["peak_mb"]),
    ]
    head = ["threads", "median ms", "p90 ms", "p99 ms", "samples", "peak MB"]
    print_table(report["device"]["name"], head, [figures])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
