"""`attnc bench`: is the bundle fast, compared to what people use instead."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnc.compiler.cli.options import JsonOption, parse_names, parse_numbers

if TYPE_CHECKING:
    from attnc.compiler.bundle import Bundle
    from attnc.runtimes.measure import Effort
    from attnc.runtimes.registry import Entry, LeftOut


def bench(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    against: Annotated[
        str,
        typer.Option(
            help="Competitors: ort, openvino, torch, torch-compile, executorch, litert; for "
            "TensorRT it is plain, the plain export in the same TensorRT; for the web "
            "ort-web-plain and ort-web, in onnxruntime-web."
        ),
    ] = "ort",
    threads: Annotated[str, typer.Option(help="Intra-op threads, as in 1,2.")] = "1",
    batch: Annotated[
        str | None, typer.Option(help="Batch sizes, as in 1,8; the bundle's own without it.")
    ] = None,
    sittings: Annotated[
        int, typer.Option(min=1, help="How often all processes are started anew.")
    ] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each runner in a sitting.")] = 5,
    burst: Annotated[int, typer.Option(min=1, help="Samples per turn; 25 on GPUs without it.")] = 5,
    footprint: Annotated[
        int, typer.Option(min=0, help="Fresh processes for session time and memory; 0: none.")
    ] = 5,
    patience: Annotated[
        int,
        typer.Option(
            min=1,
            help="Seconds that openvino, torch-compile, executorch and litert have to load.",
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
    if none is installed. TensorRT bundles need the GPU: their engine is timed against that of the
    plain export, by CUDA events. Core ML bundles need macOS: compute units are timed in turn. Web
    bundles run in a page of Chromium, against onnxruntime-web.
    """
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.cli.console import progress
    from attnc.compiler.cli.workloads import Workloads
    from attnc.runtimes.bench import Plan, run_bench
    from attnc.runtimes.measure import Effort

    opened = Bundle.open(bundle)
    own = opened.manifest.batch
    pictures = parse_numbers(batch, "--batch") if batch else (1 if own == "dynamic" else own,)
    if opened.manifest.target == "coreml":
        from attnc.compiler.cli.bench_coreml import bench_coreml

        effort = Effort(sittings, rounds, burst)
        given = [name for name in ("batch", *_MEANINGLESS) if _given(context, name)]
        bench_coreml(opened, against if _given(context, "against") else None, effort, given, json)
        return
    if opened.manifest.target == "tensorrt":
        _bench_gpu(context, opened, pictures, Effort(sittings, rounds, burst), json)
        return
    counts = parse_numbers(threads, "--threads")
    _note_few_cores(counts, opened)
    if opened.manifest.target == "web":
        from attnc.compiler.cli.bench_web import report_web

        given = [name for name in ("batch", *_MEANINGLESS) if _given(context, name)]
        given = [name for name in given if name != "threads"]
        named = against if _given(context, "against") else None
        report_web(opened, named, counts, Effort(sittings, rounds, burst), given, json)
        return
    entries, missing = _installed(_with_own_formats(parse_names(against, "--against"), opened))
    effort = Effort(sittings, rounds, burst)
    plan = Plan(entries, counts, pictures, effort, footprint, patience, budget)
    with progress() as shown, Workloads(opened, shown) as workloads:
        report = {"bundle": opened.identity} | run_bench(plan, workloads.at, shown)
    _show(report, missing, json)


#: Options that say nothing where a device's own runtime plans threads and memory.
_MEANINGLESS = ("threads", "footprint", "patience", "budget")


def _show(report: dict[str, Any], missing: list[LeftOut], json: str | None) -> None:
    """Notes, the report and the tables."""
    from attnc.compiler.cli.console import print_table, write_json
    from attnc.runtimes.registry import LeftOut

    for miss in report["left_out"]:
        _note_left_out(LeftOut(**miss))
    report["left_out"] += [asdict(miss) for miss in missing]
    _note_restless(report)
    write_json(report, json)
    if json != "-":
        columns = ["runner", "threads", "batch", "median ms", "p90", "p99", "n", "ours / theirs"]
        print_table(f"{report['model']}, {report['precision']}", columns, rows_of(report))
        _print_footprint(report["footprint"])


def _bench_gpu(
    context: typer.Context,
    bundle: Bundle,
    pictures: tuple[int, ...],
    effort: Effort,
    json: str | None,
) -> None:
    """The same for a TensorRT bundle, with what makes sense on a GPU."""
    from dataclasses import replace

    from attnc.compiler.cli.bench_gpu import BURST, COLUMNS, PLAIN, gpu_rows, report_gpu
    from attnc.compiler.cli.console import print_table, progress, write_json
    from attnc.compiler.errors import UsageError
    from attnc.runtimes.registry import LeftOut
    from attnc.runtimes.tensorrt.gpu_bench import LEAD_IN, WARM_UP

    for option in _MEANINGLESS:
        if _given(context, option):
            raise UsageError(f"--{option} means nothing for a TensorRT bundle", remedy="leave it")
    if _given(context, "against") and context.params["against"] != PLAIN:
        raise UsageError(
            f"a TensorRT bundle is not timed against {context.params['against']}",
            remedy=f"--against {PLAIN}, which is the default: the plain export in TensorRT",
        )
    burst = effort.burst if _given(context, "burst") else BURST
    effort = replace(effort, burst=burst, lead_in=LEAD_IN, warmup=WARM_UP)
    with progress() as shown:
        report = report_gpu(bundle, pictures, effort, shown)
    for miss in report["left_out"]:
        _note_left_out(LeftOut(**miss))
    write_json(report, json)
    if json != "-":
        device = report["device"]
        title = f"{report['model']}, {report['precision']}, {device['gpu']}, {device['runtime']}"
        print_table(title, COLUMNS, gpu_rows(report))


def _given(context: typer.Context, option: str) -> bool:
    source = context.get_parameter_source(option)
    return source is not None and source.name != "DEFAULT"


#: What runs the bundle's own file in the runtime of a competitor.
_OWN_FORMATS = {"litert": ("tflite", "attnc-tflite"), "executorch": ("pte", "attnc-pte")}


def _with_own_formats(names: tuple[str, ...], bundle: Bundle) -> tuple[str, ...]:
    """The competitors, and beside LiteRT and ExecuTorch the bundle's own file for them."""
    held = {entry.format for entry in bundle.manifest.formats}
    found: list[str] = []
    for name in names:
        format_name, own = _OWN_FORMATS.get(name, ("", ""))
        found += [name, own] if format_name in held else [name]
    return tuple(dict.fromkeys(found))


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


def _note_few_cores(counts: tuple[int, ...], bundle: Bundle) -> None:
    """Say what makes the figures say less: cores, and whose kernels are timed."""
    from attnc.compiler.cli.console import note
    from attnc.runtimes.attnc_runner import timed_library
    from attnc.runtimes.machine import available_cores

    cores = available_cores()
    if max(counts) > cores:
        note(f"{max(counts)} threads on {cores} core(s): they will wait for each other")
    manifest = bundle.manifest
    if manifest.target in ("android", "arm64") and manifest.kernels:
        library = timed_library(bundle)
        if library is not None and bundle.path not in library.parents:
            held = ", ".join(entry.target for entry in manifest.kernels)
            note(f"the bundle's kernels are for {held}; this machine's own are timed instead")


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


def rows_of(report: dict[str, Any]) -> list[list[str]]:
    """The report's rows as a table's cells."""
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
