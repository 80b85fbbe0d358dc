"""`attnc bench` of a Core ML bundle: compute units in turn, on a Mac."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attnc.compiler.cli.options import parse_names

if TYPE_CHECKING:
    from attnc.compiler.bundle import Bundle
    from attnc.runtimes.measure import Effort

COLUMNS = ["compute units", "median ms", "p90", "p99", "n", "first / these"]


def bench_coreml(
    bundle: Bundle, against: str | None, effort: Effort, given: Sequence[str], json: str | None
) -> None:
    """Time the package with all units against those named in `against` (all choices without it).

    Raises MissingRuntimeError where Core ML cannot predict.
    """
    from attnc.compiler.cli.console import note, print_table, progress, write_json
    from attnc.compiler.errors import UsageError
    from attnc.runtimes.coreml.device import UNITS
    from attnc.runtimes.coreml.device_latency import measure_units

    for option in given:
        raise UsageError(f"--{option} means nothing for a Core ML bundle", remedy="leave it")
    entry = bundle.manifest.coreml
    assert entry is not None
    named = parse_names(against, "--against") if against else tuple(UNITS)
    units = tuple(dict.fromkeys(("all", *named)))
    with progress() as shown:
        report = measure_units(bundle.path / entry.package, units, effort, progress=shown)
    manifest = bundle.manifest
    report = {"model": manifest.model, "precision": manifest.precision, **report}
    for miss in report["left_out"]:
        note(f"not timed: {miss['runner']}: {miss['reason']}")
    write_json(report, json)
    if json != "-":
        device = report["device"]
        title = f"{manifest.model}, {manifest.precision}, {device['chip']}, macOS {device['macos']}"
        print_table(title, COLUMNS, _rows(report["results"]))


def _rows(results: Sequence[dict[str, Any]]) -> list[list[str]]:
    first = results[0]
    return [
        [
            row["runner"],
            *(f"{row[key]:.3f}" for key in ("median_ms", "p90_ms", "p99_ms")),
            str(row["n"]),
            _ratio(first, row["runner"]),
        ]
        for row in results
    ]


def _ratio(first: dict[str, Any], other: str) -> str:
    if other not in first["ratio_to"]:
        return ""
    low, high = first["ratio_interval"][other]
    return f"{first['ratio_to'][other]:.3f} [{low:.3f}, {high:.3f}]"
