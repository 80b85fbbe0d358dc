"""`attnc verify`: is the bundle right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnc.compiler.cli.options import JsonOption, parse_names

if TYPE_CHECKING:
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.progress import Progress
    from attnc.runtimes.checks import Report

_MARK = {"verified": "ok", "failed": "FAILED", "build-only": "built", "not-verified": "not run"}


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    images: Annotated[
        Path | None,
        typer.Option(help="A folder of photographs; scikit-learn's two without it."),
    ] = None,
    sm: Annotated[
        str | None,
        typer.Option(help="For TensorRT: architectures to build for, as in 86,89; all without it."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Accuracy too: digits, or a folder with a folder of pictures per class."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many pictures of the dataset, evenly spread.")
    ] = None,
    signature: Annotated[
        str | None,
        typer.Option(help="A minisign public key (file or text): first check who signed it."),
    ] = None,
    limits: Annotated[
        Path | None,
        typer.Option(help="A TOML file of [[limits]] that override the table's for a model."),
    ] = None,
    passes: Annotated[
        bool, typer.Option("--passes", help="Run the reference after every pass as well.")
    ] = False,
    stages: Annotated[
        bool, typer.Option("--stages", help="Compare block by block, and which tokens are kept.")
    ] = False,
    repro: Annotated[
        Path | None, typer.Option(help="With --passes: a folder to write for a wrong pass.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Check a bundle's files, and its outputs against the model it was made from.

    Seeded inputs and real photographs, with the kernels and without them; for TensorRT also the
    engines that can be built here, for Core ML the package, evaluated operation by operation.
    With --dataset also how often bundle and source are right on labelled pictures.
    Exit code 1 if a check fails or none could run.
    """
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.cli.accuracy import add_accuracy, find_dataset, print_accuracy
    from attnc.compiler.cli.console import note, print_table, progress, write_json
    from attnc.compiler.cli.verify_proof import Wanted, add_proof
    from attnc.compiler.errors import ExitCode
    from attnc.runtimes.limits import overridden
    from attnc.runtimes.proof.outputs import COLUMNS, table
    from attnc.tools.trust.signing import check_bundle

    opened = Bundle.open(bundle)
    if signature is not None:
        note(f"signed: {check_bundle(opened, signature)}")
    with progress() as shown, overridden(limits):
        labelled = find_dataset(opened, dataset, limit, shown)
        report = _report(opened, images, sm, shown)
        accuracy = add_accuracy(opened, labelled, report, shown)
        deep = add_proof(opened, Wanted(passes, stages, repro), report, shown)
    figures = {} if accuracy is None else {"accuracy": accuracy.as_json()}
    figures |= deep
    write_json({"bundle": opened.identity} | report.as_json() | figures, json)
    if json != "-":
        rows = [
            [c.name, _MARK[c.status], _number(c.value), _number(c.limit), c.reason]
            for c in report.checks
        ]
        print_table(opened.manifest.model, ["check", "status", "value", "limit", "reason"], rows)
        if report.outputs:
            title = "outputs against the source, the worst of all inputs"
            print_table(title, [*COLUMNS], table(report.outputs))
        print_accuracy(accuracy)
    note("verified" if report.ok else "NOT verified")
    if not report.ok:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _report(bundle: Bundle, images: Path | None, sm: str | None, shown: Progress) -> Report:
    """What the bundle's target checks."""
    from attnc.compiler.cli.api import rebuild_reference
    from attnc.compiler.errors import UsageError

    if sm is None and bundle.manifest.target == "coreml":
        from attnc.compiler.cli.coreml_twin import write_twin
        from attnc.compiler.source import rebuild
        from attnc.runtimes.coreml.verify import Source as CoremlSource
        from attnc.runtimes.coreml.verify import verify_coreml

        coreml = CoremlSource(lambda: rebuild(bundle), lambda folder: write_twin(bundle, folder))
        return verify_coreml(bundle, coreml, images, shown)
    if bundle.manifest.target == "tensorrt":
        from attnc.compiler.cli.plain import write_plain
        from attnc.runtimes.tensorrt.verify import Source, verify_tensorrt

        source = Source(
            lambda: rebuild_reference(bundle), lambda folder: write_plain(bundle, folder)
        )
        return verify_tensorrt(bundle, source, images, parse_names(sm, "--sm") if sm else (), shown)
    if sm is not None:
        raise UsageError(
            f"--sm is for TensorRT bundles; this one is for {bundle.manifest.target}",
            where=str(bundle.path),
        )
    from attnc.runtimes.verify import verify

    return verify(bundle, lambda: rebuild_reference(bundle), images, shown)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
