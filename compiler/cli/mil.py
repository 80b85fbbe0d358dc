"""`attnc mil`: the program in a Core ML package, for people to read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnc.compiler.cli.options import JsonOption

if TYPE_CHECKING:
    from attnc.runtimes.coreml.features import Feature
    from attnc.runtimes.coreml.listing import Line
    from attnc.runtimes.coreml.package import Package
    from attnc.runtimes.coreml.placement import Finding
    from attnc.runtimes.coreml.summary import Summary

PACKAGE = "model.mlpackage"


def mil(
    path: Annotated[Path, typer.Argument(help="A Core ML bundle, or any .mlpackage folder.")],
    operation: Annotated[
        str, typer.Option(metavar="TEXT", help="Only operations with this in their name or kind.")
    ] = "",
    module: Annotated[
        str, typer.Option(metavar="PREFIX", help="Only this torch module, as in stages.1.")
    ] = "",
    lint: Annotated[
        bool, typer.Option("--lint", help="What may keep operations off the Neural Engine.")
    ] = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="Counts, weights and ports of the whole program.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """List the operations of a Core ML program, with their torch modules and source lines.

    --summary and --lint say something about the program instead. The lint goes by what is
    published; where an operation runs is up to Core ML, on the device.
    """
    from attnc.compiler.cli.console import write_json
    from attnc.runtimes.coreml.listing import list_operations
    from attnc.runtimes.coreml.placement import counts
    from attnc.runtimes.coreml.placement import lint as find
    from attnc.runtimes.coreml.summary import summarise

    package, origins = open_program(path)
    functions = package.program.functions
    name = "main" if "main" in functions else min(functions)
    lines = _selected(list_operations(functions[name], origins), operation, module, path)
    document: dict[str, Any] = {"path": str(path)}
    if summary:
        total = summarise(package, name)
        document["summary"] = total.as_json()
        _print_summary(total, shown=json != "-")
    if lint:
        kept = {line.name for line in lines}
        findings = [each for each in find(package, origins, name) if each.operation in kept]
        document["counts"] = counts(findings)
        document["findings"] = [finding.as_json() for finding in findings]
        _print_lint(findings, shown=json != "-")
    if not summary and not lint:
        document["operations"] = [line.as_json() for line in lines]
        _print_lines(lines, shown=json != "-")
    write_json(document, json)


def open_program(path: Path) -> tuple[Package, dict[str, dict[str, str]]]:
    """The package at `path` and where its operations come from; nothing for a foreign package.

    Raises UsageError for what is neither a Core ML bundle nor a package, or is damaged.
    """
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.errors import UsageError
    from attnc.compiler.manifest import FILE_NAME as MANIFEST
    from attnc.runtimes.coreml.origins import FILE_NAME, read_origins
    from attnc.runtimes.coreml.package import open_package

    if path.suffix == ".mlpackage" or (path / "Data").is_dir():
        return open_package(path), {}
    if not (path / MANIFEST).is_file():
        raise UsageError(
            "there is neither a Core ML bundle nor a package of Core ML",
            where=str(path),
            remedy="give a folder of `attnc export --target coreml`, or a .mlpackage folder",
        )
    bundle = Bundle.open(path)
    if not (bundle.path / PACKAGE).is_dir():
        raise UsageError(
            f"the bundle is for target {bundle.manifest.target} and holds no Core ML program",
            where=str(path),
            remedy="give a bundle of `--target coreml`, or a .mlpackage folder",
        )
    return open_package(bundle.path / PACKAGE), read_origins(bundle.path / FILE_NAME)


def _selected(lines: list[Line], operation: str, module: str, path: Path) -> list[Line]:
    """The lines that were asked for; it is an error if there are none."""
    from attnc.compiler.errors import UsageError
    from attnc.runtimes.coreml.listing import select

    chosen = select(lines, operation, module)
    if chosen or not (operation or module):
        return chosen
    if module and not any(line.module for line in lines):
        what, remedy = "the package does not say of what module it is", "give attnc's bundle"
    else:
        wanted = " and ".join(repr(text) for text in (operation, module) if text)
        what, remedy = f"no operation matches {wanted}", "without options all are listed"
    raise UsageError(what, where=str(path), remedy=remedy)


def _print_lines(lines: list[Line], *, shown: bool) -> None:
    from attnc.runtimes.coreml.listing import as_text

    for text in as_text(lines) if shown else ():
        print(text)


def _print_summary(summary: Summary, *, shown: bool) -> None:
    from attnc.compiler.cli.console import print_table

    if not shown:
        return
    facts = [
        ["specification version", str(summary.specification_version)],
        ["operation set", f"iOS {summary.opset}"],
        ["operations", str(sum(summary.operations.values()))],
        ["largest rank", str(summary.largest_rank)],
        *(["constants", f"{count} {kind}"] for kind, count in summary.constants.items()),
        *(["stored", f"{size / 1e6:.2f} MB {kind}"] for kind, size in summary.weights.items()),
        *(["input", _feature(feature)] for feature in summary.inputs),
        *(["output", _feature(feature)] for feature in summary.outputs),
        *([name, text] for name, text in summary.metadata.items()),
    ]
    print_table("program", ["what", "value"], facts)
    rows = [[kind, str(count)] for kind, count in summary.operations.items()]
    print_table("operations", ["kind", "count"], rows)


def _feature(feature: Feature) -> str:
    """One line on an input or output."""
    shapes = " or ".join("x".join(map(str, shape)) for shape in feature.allowed)
    words = (feature.name, feature.kind, feature.colour, feature.dtype, shapes)
    return " ".join(word for word in words if word)


def _print_lint(findings: list[Finding], *, shown: bool) -> None:
    from attnc.compiler.cli.console import note, print_table
    from attnc.runtimes.coreml.placement import counts
    from attnc.runtimes.coreml.placement_rules import RULES

    if not shown:
        return
    found = counts(findings)
    rows = [
        [rule.name, str(found[rule.name]), rule.effect, rule.basis, rule.description]
        for rule in RULES
        if rule.name in found
    ]
    print_table("rules", ["rule", "count", "effect", "basis", "what is said"], rows)
    ordered = sorted(findings, key=lambda each: list(found).index(each.rule))
    same = Counter((each.rule, each.kind, each.detail, each.module) for each in ordered)
    places = [[rule, str(count), *rest] for (rule, *rest), count in same.items()]
    print_table("findings", ["rule", "count", "kind", "detail", "torch module"], places)
    note("sources: docs/coreml-placement.md; only a device knows where an operation runs")
