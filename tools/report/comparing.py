"""Two bundles side by side: what differs in source, passes, operators, kernels, sizes, outputs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError
from attnc.compiler.manifest import FileEntry
from attnc.compiler.manifest_parts import Part
from attnc.tools.report.charts import setting_name
from attnc.tools.report.document import BundleReport, Note
from attnc.tools.report.rounding import figures

Value = float | int | str | None
FORMAT: Final = "attnc-comparison"
#: Targets whose model ONNX Runtime runs here, so that outputs can be compared.
RUNS_HERE = ("cpu", "android", "arm64", "web")
HASH = 12  # letters of a hash that tell files apart


class Row(Part):
    """One thing of both bundles; `change` is b over a, of two numbers."""

    section: str
    item: str
    a: Value
    b: Value
    differs: bool
    change: float | None = None


class Comparison(Part):
    """The JSON of `attnc compare --json`."""

    format: Literal["attnc-comparison"] = FORMAT
    version: int = 1
    a: str
    b: str
    differences: int
    rows: tuple[Row, ...]
    notes: tuple[Note, ...]

    @property
    def differing(self) -> list[Row]:
        """The rows that differ."""
        return [row for row in self.rows if row.differs]


def compare_bundles(
    bundles: tuple[Bundle, Bundle], reports: tuple[BundleReport, BundleReport], *, run: bool = True
) -> Comparison:
    """What differs between two bundles, of which `reports` tell; `run` also compares outputs."""
    a, b = reports
    notes: list[Note] = []
    rows = [
        *_rows("source", _source(a), _source(b)),
        *_rows("passes", _matches(a), _matches(b)),
        *_rows("near-misses", _near_misses(a), _near_misses(b)),
        *_rows("nodes", _nodes(a), _nodes(b)),
        *_rows("operators", a.operators, b.operators),
        *_rows("kernels", _kernels(bundles[0]), _kernels(bundles[1])),
        *_rows("verdicts", _verdicts(a), _verdicts(b)),
        *_rows("sizes, MB", _sizes(a), _sizes(b)),
        *_rows("parity", _parity(a), _parity(b)),
        *_rows("latency, ms", _latency(a), _latency(b)),
    ]
    rows += _recorded(bundles, notes)
    if run:
        rows += _outputs(bundles, notes)
    return Comparison(
        a=_name(a, b),
        b=_name(b, a),
        differences=sum(row.differs for row in rows),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _name(one: BundleReport, other: BundleReport) -> str:
    return f"{one.title} ({one.folder})" if one.title == other.title else one.title


def _rows(section: str, a: Mapping[str, Value], b: Mapping[str, Value]) -> Iterable[Row]:
    """Items of either, in the order of the first."""
    for item in dict.fromkeys((*a, *b)):
        yield _row(section, item, a.get(item), b.get(item))


def _row(section: str, item: str, a: Value, b: Value) -> Row:
    numbers = isinstance(a, int | float) and isinstance(b, int | float)
    change = figures(b / a) if numbers and a and a != b else None  # type: ignore[operator]
    return Row(section=section, item=item, a=a, b=b, differs=a != b, change=change)


def _source(report: BundleReport) -> dict[str, Value]:
    it = report.identity
    plain: dict[str, Value] = {
        "model": it.model,
        "target": it.target,
        "profile": it.profile,
        "precision": it.precision,
        "batch": it.batch,
        "input": ", ".join(it.inputs),
        "output": ", ".join(it.outputs),
        "opset": it.opset,
        "source": f"{it.source_kind} {it.source_name}",
        "seed": it.seed,
        "checkpoint": it.checkpoint,
        "weights": (it.weights_sha256 or "")[:HASH] or None,
    }
    options = {f"option {key}": str(value) for key, value in it.source_options.items()}
    tools = {f"built with {name}": version for name, version in it.built_with.items()}
    return {**plain, **options, **tools}


def _matches(report: BundleReport) -> dict[str, Value]:
    """Matches by the name of the pass; those of passes that stand twice add up."""
    counts: Counter[str] = Counter()
    for line in report.passes:
        counts[line.name] += line.matches
    return dict(counts)


def _near_misses(report: BundleReport) -> dict[str, Value]:
    counts: Counter[str] = Counter()
    for miss in report.near_misses:
        counts[f"{miss.step}: {miss.reason}"] += miss.count
    return dict(counts)


def _nodes(report: BundleReport) -> dict[str, Value]:
    last = report.passes[-1].graph_hash[:HASH] if report.passes else None
    return {
        "traced": report.nodes_traced,
        "after the passes": report.nodes_rewritten,
        "graph after the passes": last,
    }


def _kernels(bundle: Bundle) -> dict[str, Value]:
    files: dict[str, FileEntry] = {entry.path: entry for entry in bundle.manifest.files}
    return {
        library.target: files[library.path].sha256[:HASH] if library.path in files else "unlisted"
        for library in bundle.manifest.kernels
    }


def _verdicts(report: BundleReport) -> dict[str, Value]:
    return {f"{line.operator} {line.shapes}": line.verdict for line in report.verdicts}


def _sizes(report: BundleReport) -> dict[str, Value]:
    memory = report.memory
    return {
        "bundle": memory.bundle_mb,
        "model file": memory.model_mb,
        "kernel libraries": memory.kernels_mb,
        "weights": memory.weights_mb,
        "arena": memory.arena_mb,
    }


def _parity(report: BundleReport) -> dict[str, Value]:
    """Of the verifications that were given: the verdict, the worst value by kind of check."""
    found: dict[str, Value] = {}
    for verification in report.verifications:
        found["verification"] = "verified" if verification.ok else "not verified"
        for check in verification.checks:
            if check.name.startswith("parity/") and check.value is not None:
                kind = f"worst relative error, {check.name.rsplit('/', 1)[-1]}"
                held = found.get(kind)
                worst = max(check.value, held if isinstance(held, float) else 0.0)
                found[kind] = worst
    return found


def _latency(report: BundleReport) -> dict[str, Value]:
    return {
        f"{runner.runner}, {setting_name(setting)}": runner.median_ms
        for latency in report.latencies
        for setting in latency.settings
        for runner in setting.runners
    }


def _recorded(bundles: tuple[Bundle, Bundle], notes: list[Note]) -> list[Row]:
    """How far the recorded outputs of the sources are apart, where both have the same inputs."""
    from attnc.runtimes.compare import compare

    cases = [
        {(case.seed, case.input_shape): case.path for case in bundle.manifest.reference}
        for bundle in bundles
    ]
    rows = []
    for key in cases[0].keys() & cases[1].keys():
        one, other = (
            np.load(bundle.path / held[key], allow_pickle=False)
            for bundle, held in zip(bundles, cases, strict=True)
        )
        if one.shape == other.shape:
            distance = compare(other, one).relative
            rows.append(_distance(f"outputs of the sources, seed {key[0]}", distance))
    if not rows:
        notes.append(Note(about="outputs of the sources", reason="they took different inputs"))
    return sorted(rows, key=lambda row: row.item)


def _distance(item: str, relative: float) -> Row:
    """A relative difference between both, which is nothing that either has."""
    shown = figures(relative) if math.isfinite(relative) else "not finite"
    return Row(section="outputs", item=item, a=0, b=shown, differs=relative > 0)


def _outputs(bundles: tuple[Bundle, Bundle], notes: list[Note]) -> list[Row]:
    """How far the bundles' own outputs are apart on one seeded input."""
    from attnc.compiler.seeded_input import seeded_input
    from attnc.runtimes.compare import compare

    about = "outputs of the bundles"
    shapes = [
        tuple(size if isinstance(size, int) else 1 for size in bundle.manifest.inputs[0].shape)
        for bundle in bundles
    ]
    strange = [bundle.manifest.target for bundle in bundles]
    strange = [target for target in strange if target not in RUNS_HERE]
    if shapes[0] != shapes[1] or strange:
        reason = f"{strange[0]} does not run here" if strange else "they take different inputs"
        notes.append(Note(about=about, reason=reason))
        return []
    try:
        one, other = (_logits(bundle, seeded_input(shapes[0], 0)) for bundle in bundles)
    except AttncError as error:
        notes.append(Note(about=about, reason=error.message))
        return []
    if one.shape != other.shape:
        notes.append(Note(about=about, reason="they have different shapes"))
        return []
    return [_distance(about, compare(other, one).relative)]


def _logits(bundle: Bundle, array: NDArray[np.float32]) -> NDArray[Any]:
    from attnc.runtimes.attnc_runner import AttncRunner
    from attnc.runtimes.kernels_here import kernels_here

    kernels, _ = kernels_here(bundle)
    library = None if kernels is None else kernels.library
    with AttncRunner(bundle, kernels=kernels is not None, library=library) as runner:
        return runner.infer({runner.inputs[0].name: array})[runner.outputs[0].name]


def json_schema() -> dict[str, object]:
    """The JSON schema of the comparison."""
    return Comparison.model_json_schema()
