"""`attnc bench`: is the bundle fast, compared to what people use instead."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnc.compiler.cli.options import JsonOption, parse_names, parse_numbers

if TYPE_CHECKING:
    from attnc.runtimes.registry import Entry, LeftOut


def bench(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    against: Annotated[
        str,
        typer.Option(help="Competitors: ort, openvino, torch, torch-compile, executorch."),
    ] = "ort",
    threads: Annotated[str, typer.Option(help="Intra-op threads, as in 1,2.")] = "1",
    batch: Annotated[
        str | None, typer.Option(help="Batch sizes, as in 1,8; the bundle's own without it.")
    ] = None,
    sittings: Annotated[
        int, typer.Option(min=1, help="How often all processes are started anew.")
    ] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each runner in a sitting.")] = 5,
    burst: Annotated[int, typer.Option(min=1, help="Samples per turn.")] = 5,
    footprint: Annotated[
        int, typer.Option(min=0, help="Fresh processes for session time and memory; 0: none.")
    ] = 5,
    patience: Annotated[
        int,
        typer.Option(
            min=1, help="Seconds that openvino, torch-compile and executorch have to load a model."
        ),
    ] = 300,
    budget: Annotated[
        int | None,
        typer.Option(min=1, help="Seconds of samples per setting; fewer are taken to fit."),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Time a bundle and its competitors in turn, each in a process of its own.

    A batch size other than the bundle's own is exported for the benchmark, all runners alike.
    Competitors that are not installed or cannot run the model are named and left out; exit code 4
    if none is installed.
    """
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.cli.console import print_table, progress, write_json
    from attnc.compiler.cli.workloads import Workloads
    from attnc.runtimes.bench import Plan, run_bench
    from attnc.runtimes.measure import Effort
    from attnc.runtimes.registry import LeftOut

    opened = Bundle.open(bundle)
    own = opened.manifest.batch
    pictures = parse_numbers(batch, "--batch") if batch else (1 if own == "dynamic" else own,)
    counts = parse_numbers(threads, "--threads")
    _note_few_cores(counts)
    entries, missing = _installed(parse_names(against, "--against"))
    effort = Effort(sittings, rounds, burst)
    plan = Plan(entries, counts, pictures, effort, footprint, patience, budget)
    with progress() as shown, Workloads(opened, shown) as workloads:
        report = run_bench(plan, workloads.at, shown)
    for miss in report["left_out"]:
        _note_left_out(LeftOut(**miss))
    report["left_out"] += [asdict(miss) for miss in missing]
    _note_restless(report)
    write_json(report, json)
    if json != "-":
        columns = ["runner", "threads", "batch", "median ms", "p90", "p99", "n", "ours / theirs"]
        print_table(f"{report['model']}, {report['precision']}", columns, _rows(report))
        _print_footprint(report["footprint"])


def _installed(names: tuple[str, ...]) -> tuple[tuple[Entry, ...], list[LeftOut]]:
    """The competitors that are here, and those that are not."""
    from attnc.compiler.errors import MissingRuntimeError, UsageError
    from attnc.runtimes.registry import find_runner, why_missing

    entries, missing = [], []
    for name in names:
        if name == "attnc":
            raise UsageError("attnc is always timed", remedy="name competitors in --against")
        entry = find_runner(name)
        miss = why_missing(entry)
        if miss:
            _note_left_out(miss)
            missing.append(miss)
        else:
            entries.append(entry)
    if not entries:
        raise MissingRuntimeError(
            f"none of {', '.join(names)} is installed",
            remedy="; ".join(dict.fromkeys(miss.remedy for miss in missing)),
        )
    return tuple(entries), missing


def _note_left_out(miss: LeftOut) -> None:
    from attnc.compiler.cli.console import note

    setting = f" (threads {miss.threads}, batch {miss.batch})" if miss.threads else ""
    note(f"not timed: {miss.runner}{setting}: {miss.reason}")
    if miss.remedy:
        note(f"  try: {miss.remedy}")


def _note_few_cores(counts: tuple[int, ...]) -> None:
    from attnc.compiler.cli.console import note
    from attnc.runtimes.machine import available_cores

    cores = available_cores()
    if max(counts) > cores:
        note(f"{max(counts)} threads on {cores} core(s): they will wait for each other")


def _note_restless(report: dict[str, Any]) -> None:
    from attnc.compiler.cli.console import note

    method = report["method"]
    for row in report["results"]:
        if row["restless_turns"]:
            note(
                f"{row['runner']} (threads {row['threads']}, batch {row['batch']}) still computed "
                f"after {row['restless_turns']} of {method['sittings'] * method['rounds']} turns: "
                "it disturbed the runner after it"
            )


def _rows(report: dict[str, Any]) -> list[list[str]]:
    ours = {(r["threads"], r["batch"]): r for r in report["results"] if r["runner"] == "attnc"}
    return [
        [
            row["runner"],
            str(row["threads"]),
            str(row["batch"]),
            f"{row['median_ms']:.3f}",
            f"{row['p90_ms']:.3f}",
            f"{row['p99_ms']:.3f}",
            str(row["n"]),
            _ratio(ours[row["threads"], row["batch"]], row["runner"]),
        ]
        for row in report["results"]
    ]


def _ratio(ours: dict[str, Any], theirs: str) -> str:
    if theirs not in ours["ratio_to"]:
        return ""
    low, high = ours["ratio_interval"][theirs]
    return f"{ours['ratio_to'][theirs]:.3f} [{low:.3f}, {high:.3f}]"


def _print_footprint(sizes: list[dict[str, Any]]) -> None:
    from attnc.compiler.cli.console import print_table

    if not sizes:
        return
    rows = [
        [row["runner"], f"{row['create_ms']:.1f}", _megabytes(row["peak_mb"]), str(row["n"])]
        for row in sizes
    ]
    print_table("one session in a fresh process", ["runner", "creation ms", "peak MB", "n"], rows)


def _megabytes(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f}"
