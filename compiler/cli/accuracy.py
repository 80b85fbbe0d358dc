"""The part of `attnc verify` that measures accuracy on labelled pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnc.runtimes.accuracy import Accuracy, Share

if TYPE_CHECKING:
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.progress import Progress
    from attnc.runtimes.checks import Report
    from attnc.runtimes.dataset import Dataset


def find_dataset(
    bundle: Bundle, which: str | None, limit: int | None, shown: Progress
) -> Dataset | None:
    """The dataset of `--dataset`, checked before anything runs; None without the option.

    Raises UsageError if it is not one, or does not fit the bundle; MissingRuntimeError without
    scikit-learn.
    """
    from attnc.compiler.errors import UsageError
    from attnc.runtimes.accuracy_run import check_classes, rule_of
    from attnc.runtimes.dataset import open_dataset

    if which is None:
        if limit is not None:
            raise UsageError("--limit is of --dataset", remedy="--dataset digits, or a folder")
        return None
    rule_of(bundle)
    dataset = open_dataset(which, bundle.labels, shown).spread(limit)
    check_classes(bundle, dataset)
    return dataset


def add_accuracy(
    bundle: Bundle, dataset: Dataset | None, report: Report, shown: Progress
) -> Accuracy | None:
    """Measure, and put the check into the report; None if there is nothing to measure or to run."""
    from attnc.compiler.cli.api import rebuild_reference
    from attnc.compiler.errors import MissingRuntimeError
    from attnc.runtimes.accuracy_run import measure_accuracy
    from attnc.runtimes.checks import Check

    if dataset is None:
        return None
    try:
        found = measure_accuracy(bundle, lambda: rebuild_reference(bundle), dataset, shown)
    except MissingRuntimeError as error:
        name = f"accuracy/{dataset.name}"
        report.checks.append(Check(name, "not-verified", reason=error.message))
        return None
    report.checks.append(found.check())
    return found


def print_accuracy(found: Accuracy | None) -> None:
    """The figures as a table on stdout."""
    from attnc.compiler.cli.console import note, print_table

    if found is None:
        return
    rows = [_row(f"bundle ({found.mode})", found.bundle), _row("source", found.source)]
    title = f"accuracy on {found.pictures} pictures of {found.dataset}"
    print_table(title, ["model", "top-1", "top-5"], rows)
    if found.interval is not None:
        low, high = found.interval
        note(
            f"same first class: {found.agreement:.2%}; drop of top-1: {found.drop:+.2%} "
            f"({low:+.2%} to {high:+.2%})"
        )
    if found.note:
        note(found.note)


def _row(name: str, share: Share | None) -> list[str]:
    return [name, *(["-", "-"] if share is None else [f"{share.top1:.4f}", f"{share.top5:.4f}"])]
