"""`attnc bench` of a web bundle: our engine against onnxruntime-web, in a page of Chromium."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attnc.compiler.cli.options import parse_names

if TYPE_CHECKING:
    from attnc.compiler.bundle import Bundle
    from attnc.runtimes.measure import Effort

#: What it can be timed against: the plain export, and the bundle's own standard operators.
COMPETITORS = ("ort-web-plain", "ort-web")


def report_web(
    bundle: Bundle,
    against: str | None,
    threads: Sequence[int],
    effort: Effort,
    given: Sequence[str],
    json: str | None,
) -> None:
    """Time and print. Raises UsageError for what means nothing here, MissingRuntimeError without
    a browser."""
    from attnc.compiler.cli.bench import rows_of
    from attnc.compiler.cli.console import note, print_table, progress, write_json
    from attnc.compiler.cli.plain import write_plain
    from attnc.compiler.errors import UsageError
    from attnc.runtimes.web.bench import bench_web

    for option in given:
        raise UsageError(f"--{option} means nothing for a web bundle", remedy="leave it")
    named = parse_names(against, "--against") if against else COMPETITORS
    for name in named:
        if name not in COMPETITORS:
            raise UsageError(
                f"a web bundle is not timed against {name}",
                remedy=f"one of: {', '.join(COMPETITORS)}",
            )
    with progress() as shown, tempfile.TemporaryDirectory(prefix="attnc-plain-") as folder:
        shown.stage("exporting the plain model")
        models = {"ort-web": bundle.model_path}
        if COMPETITORS[0] in named:
            models[COMPETITORS[0]] = write_plain(bundle, Path(folder))
        chosen = {name: models[name] for name in named}
        report = {"bundle": bundle.identity} | bench_web(bundle, chosen, threads, effort, shown)
    write_json(report, json)
    for count, milliseconds in report["ready_ms"].items():
        note(f"{count} thread(s): model ready {milliseconds:.0f} ms after the page")
    if json != "-":
        columns = ["runner", "threads", "batch", "median ms", "p90", "p99", "n", "ours / theirs"]
        title = f"{report['model']}, {report['precision']}, {report['runtime']}, Chromium"
        print_table(title, columns, rows_of(report))
