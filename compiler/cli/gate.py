"""`attnc gate`: did anything get worse, for CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnc.compiler.cli.options import JsonOption

if TYPE_CHECKING:
    from attnc.compiler.progress import Progress
    from attnc.tools.gate.baseline import Baseline, Record
    from attnc.tools.gate.budget import Budgets
    from attnc.tools.gate.report import GateReport

COLUMNS = ["case", "metric", "kind", "value", "interval", "limit", "verdict", "why"]


def gate(
    budget: Annotated[Path, typer.Option(help="The budget file, TOML.")],
    baseline: Annotated[
        Path | None, typer.Option(help="What was measured before; see --update-baseline.")
    ] = None,
    update_baseline: Annotated[
        bool,
        typer.Option(
            "--update-baseline",
            help="Measure thoroughly and write --baseline; records of other machines stay.",
        ),
    ] = False,
    bundles: Annotated[
        Path | None,
        typer.Option(
            help="The folder with the bundles that the baseline was made of; next to it, with "
            "the ending .bundles, if not named."
        ),
    ] = None,
    no_bundles: Annotated[
        bool,
        typer.Option("--no-bundles", help="Neither keep bundles nor compare with kept ones."),
    ] = False,
    json: JsonOption = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary in markdown.")] = None,
    github_annotations: Annotated[
        bool,
        typer.Option("--github-annotations", help="Print annotations for GitHub Actions."),
    ] = False,
    benchmark_json: Annotated[
        Path | None, typer.Option(help="Write the JSON of github-action-benchmark.")
    ] = None,
) -> None:
    """Hold models against budgets and against a baseline; made for CI.

    Latency is compared with that of the baseline's own bundle, timed in turn with the new one; it
    is worse only if the whole interval of the ratio lies beyond the margin, and a second run says
    so too. Exit code 0: passed. 1: something got worse or is over its budget. 5: no verdict, the
    machine is too noisy. Without a baseline only the budgets count; without its bundles stored
    timings do, on the class of machine that they are from.
    """
    from attnc.compiler.cli.console import note, progress
    from attnc.tools.gate.budget import load_budgets

    budgets = load_budgets(budget)
    known = _known(baseline, update_baseline)
    kept = _kept(baseline, bundles, no_bundles, update_baseline)
    with progress() as shown:
        report = _measured(budgets, budget, baseline, known, kept, update_baseline, shown)
    _write(report, json, junit, markdown, benchmark_json)
    _tell(report, json, github_annotations)
    if update_baseline:
        done = "was not written: a baseline is made by a run that passes its budgets"
        note(f"{baseline} {done}" if report.exit_code else f"wrote {baseline}")
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _known(path: Path | None, update: bool) -> Baseline | None:
    """The baseline, an empty one where it is about to be made. Raises UsageError."""
    from attnc.compiler.errors import UsageError
    from attnc.tools.gate.baseline import Baseline, read_baseline

    if path is None:
        if update:
            raise UsageError(
                "--update-baseline does not know what to write", remedy="name it with --baseline"
            )
        return None
    if update and not path.exists():
        return Baseline()
    return read_baseline(path)


def _kept(baseline: Path | None, folder: Path | None, without: bool, update: bool) -> Path | None:
    """The folder of the bundles, None to go without. Raises UsageError."""
    from attnc.compiler.errors import UsageError
    from attnc.tools.gate.kept import folder_of

    if folder is not None and (without or baseline is None):
        reason = "--no-bundles is given too" if without else "there is no --baseline"
        raise UsageError(
            f"--bundles {folder}: {reason}", remedy="leave one of the two out, or name a baseline"
        )
    if without or baseline is None:
        return None
    found = folder or folder_of(baseline)
    if found.exists() and not found.is_dir():
        raise UsageError(
            f"{found} is a file; bundles are kept in a folder",
            where=str(found),
            remedy="name another folder with --bundles, or go without (--no-bundles)",
        )
    return found


def _measured(
    budgets: Budgets,
    file: Path,
    baseline_file: Path | None,
    baseline: Baseline | None,
    kept: Path | None,
    update: bool,
    shown: Progress,
) -> GateReport:
    """Measure, and write the new baseline if that is wanted and all is well."""
    from attnc.runtimes.machine import machine_info
    from attnc.tools.gate.budget import case_line
    from attnc.tools.gate.gate import Setting, run_gate
    from attnc.tools.gate.lab import RealLab

    text = file.read_text(encoding="utf-8")
    setting = Setting(
        budget_file=file.as_posix(),
        lines=[case_line(text, number) for number in range(len(budgets.case))],
        machine=machine_info(),
        baseline=baseline,
        baseline_file=None if baseline_file is None else baseline_file.as_posix(),
        update=update,
        keeps=kept is not None,
    )
    with RealLab(budgets, file.parent, shown, kept) as lab:
        report, record = run_gate(budgets, lab, setting, shown)
        if update and baseline_file is not None and not report.exit_code:
            lab.keep([case for case in budgets.case if record.cases[case.label].bundle])
            _renew(baseline_file, baseline, kept, record)
    return report


def _write(
    report: GateReport,
    json: str | None,
    junit: Path | None,
    markdown: Path | None,
    benchmark: Path | None,
) -> None:
    """All files that were asked for, each whole or not at all."""
    from attnc.compiler.cli.console import write_json
    from attnc.compiler.staging import write_text
    from attnc.tools.gate.github import benchmark_entries
    from attnc.tools.gate.junit import junit_xml
    from attnc.tools.gate.markdown import markdown_text

    write_json(report.to_json(), json)
    if junit is not None:
        write_text(junit, junit_xml(report))
    if markdown is not None:
        write_text(markdown, markdown_text(report))
    if benchmark is not None:
        write_json(benchmark_entries(report), str(benchmark))


def _tell(report: GateReport, json: str | None, annotate: bool) -> None:
    """The table, the annotations (on stderr where stdout is the JSON), the verdict."""
    from attnc.compiler.cli.console import note, print_table
    from attnc.tools.gate.github import workflow_commands
    from attnc.tools.gate.words import summary

    if json != "-":
        print_table(report.budget, COLUMNS, [_row(result) for result in report.results])
    for line in workflow_commands(report) if annotate else ():
        typer.echo(line, err=json == "-")
    if report.baseline.reason:
        note(report.baseline.reason)
    note(summary(report))


def _row(result: Any) -> list[str]:
    from attnc.tools.gate.words import bounds, number

    return [
        result.case,
        result.metric,
        result.kind,
        "" if result.value is None else number(result.value, result.unit),
        "" if result.interval is None else bounds(result.interval),
        "" if result.limit is None else number(result.limit, result.unit),
        result.status,
        result.reason,
    ]


def _renew(path: Path, known: Baseline | None, kept: Path | None, record: Record) -> None:
    """Write the baseline; then let go of bundles that none of its records is made of."""
    from attnc.tools.gate.baseline import Baseline, write_baseline
    from attnc.tools.gate.kept import prune

    renewed = (known or Baseline()).renewed(record)
    write_baseline(path, renewed)
    if kept is not None:
        prune(kept, renewed.bundles())
