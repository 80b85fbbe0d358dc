"""A web bundle against onnxruntime-web, in one page of headless Chromium, in turn."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnc.compiler.bundle import Bundle
from attnc.compiler.progress import SILENT, Progress
from attnc.runtimes.bench import Row, check_same_model, same_model_limit
from attnc.runtimes.machine import machine_info
from attnc.runtimes.measure import Effort
from attnc.runtimes.statistics import ratio_interval, ratio_of_medians
from attnc.runtimes.web.browser import visit
from attnc.runtimes.web.ortweb import VERSION, WASM, copy_files
from attnc.runtimes.web.server import serve

#: Names of the plain export and of the bundle's `model.onnx`, both in onnxruntime-web.
PLAIN, OURS = "ort-web-plain", "ort-web"
#: Samples of a turn that do not count: caches and sleeping threads.
LEAD_IN = 3
PAGE = '<!doctype html><meta charset="utf-8"><title>attnc</title><link rel="icon" href="data:,">'
SCRIPT = "async plan => (await import(plan.base + 'bench.js')).bench(plan)"


def bench_web(
    bundle: Bundle,
    models: Mapping[str, Path],
    threads: Sequence[int],
    effort: Effort,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Samples and ratios of the engine and of `models`, by runner, in onnxruntime-web.

    Every sitting is a browser of its own. Raises MissingRuntimeError without a browser or
    onnxruntime-web, ParityError if two runners do not compute the same.
    """
    rows: list[Row] = []
    ready: dict[str, float] = {}
    described: dict[str, Any] = {}
    browser = ""
    with tempfile.TemporaryDirectory(prefix="attnc-web-") as name:
        site = _site(bundle, models, Path(name))
        for count in threads:
            progress.stage(f"timing in Chromium, {count} thread(s)", effort.sittings)
            taken = []
            for _ in range(effort.sittings):
                taken.append(_sit(bundle, models, site, count, effort))
                progress.advance()
            rows += _rows(taken, count, bundle.manifest.batch, effort)
            ready[str(count)] = float(np.median([each["ready"] for each in taken]))
            described[str(count)] = taken[-1]["described"]
            browser = taken[-1]["browser"]
    return {
        "model": bundle.manifest.model,
        "precision": bundle.manifest.precision,
        "machine": machine_info(),
        "runtime": f"onnxruntime-web {VERSION}",
        "browser": browser,
        "engine": described,
        "ready_ms": {count: round(value, 1) for count, value in ready.items()},
        "results": [row.as_json() for row in rows],
        "left_out": [],
    }


def _site(bundle: Bundle, models: Mapping[str, Path], folder: Path) -> Path:
    """What the page loads: the bundle's folder, the models, onnxruntime-web."""
    entry = bundle.manifest.web
    assert entry is not None
    shutil.copytree(bundle.path / entry.folder, folder / "web")
    (folder / "ort").mkdir()
    copy_files(WASM, folder / "ort")
    for name, path in models.items():
        shutil.copyfile(path, folder / f"{name}.onnx")
    (folder / "index.html").write_text(PAGE, encoding="utf-8")
    return folder


def _sit(
    bundle: Bundle, models: Mapping[str, Path], site: Path, threads: int, effort: Effort
) -> dict[str, Any]:
    spec = bundle.manifest.inputs[0]
    with serve(site) as base, visit(f"{base}/index.html") as seen:
        plan = {
            "base": f"{base}/web/",
            "models": {name: f"{base}/{name}.onnx" for name in models},
            "runtime": f"{base}/ort/",
            "threads": threads,
            "rounds": effort.rounds,
            "burst": effort.burst,
            "leadIn": LEAD_IN,
            "input": spec.name,
            "shape": list(spec.shape),
        }
        taken: dict[str, Any] = seen.page.evaluate(SCRIPT, plan)
        taken["browser"] = (
            f"Chromium {seen.context.browser.version}" if seen.context.browser else ""
        )
    outputs = [np.asarray(values, np.float32) for values in taken["outputs"].values()]
    check_same_model(list(taken["outputs"]), outputs, same_model_limit(bundle))
    return taken


def _rows(
    taken: Sequence[dict[str, Any]], threads: int, batch: int | str, effort: Effort
) -> list[Row]:
    pictures = batch if isinstance(batch, int) else 1
    rows = []
    for name in taken[0]["samples"]:
        samples = [value for sitting in taken for value in sitting["samples"][name]]
        rows.append(Row(name, threads, pictures, samples))
    for ours, others in _pairs(rows):
        for row in others:
            pair = (ours.samples, row.samples)
            ours.ratio_to[row.runner] = ratio_of_medians(*pair)
            ours.ratio_interval[row.runner] = ratio_interval(
                *pair, block=effort.burst, sittings=len(taken)
            )
    return rows


def _pairs(rows: Sequence[Row]) -> list[tuple[Row, list[Row]]]:
    """What is compared with what: the engine with all, `model.onnx` with the plain export."""
    named = {row.runner: row for row in rows}
    pairs = [(rows[0], list(rows[1:]))]
    if OURS in named and PLAIN in named:
        pairs.append((named[OURS], [named[PLAIN]]))
    return pairs
