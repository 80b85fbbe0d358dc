"""Time per operator of a bundle in ONNX Runtime, attributed to the torch modules it came from.

ONNX Runtime reports nodes by name; what it fused or added itself is found by the results it makes.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import onnx_ir as ir

from attnc.compiler.bundle import Bundle
from attnc.compiler.ops.base import Shape
from attnc.compiler.provenance import source_line, torch_module
from attnc.compiler.seeded_input import seeded_input
from attnc.runtimes.attnc_runner import host_library
from attnc.runtimes.onnx_session import open_session, session_options
from attnc.tools.report.document import Profile, Share
from attnc.tools.report.rounding import figures, percent

WARM_UP, CALLS, THREADS = 3, 15, 1
_SUFFIX = "_kernel_time"
#: Modules are shown so deep that at most this many are left.
MOST_MODULES = 40
UNKNOWN, ROOT = "(no module)", "(the model itself)"


@dataclass
class Timed:
    """A node as it ran: its median time in microseconds, and the shapes that it saw."""

    name: str
    operator: str
    microseconds: float
    shapes: tuple[Shape, ...]
    results: tuple[Shape, ...]
    module: str = ""
    node: ir.Node | None = None


@dataclass
class Run:
    """All nodes of the profiled calls."""

    nodes: list[Timed]
    batch: int
    peak_bytes: int | None
    model: ir.Model = field(repr=False)


def profile_bundle(bundle: Bundle, threads: int = THREADS) -> Run:
    """Run a bundle under ONNX Runtime's profiler, with the kernels that it has for this machine.

    Raises MissingRuntimeError or UsageError if it cannot run here.
    """
    shape = tuple(size if isinstance(size, int) else 1 for size in bundle.manifest.inputs[0].shape)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = session_options(threads, host_library(bundle))
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "calls")
        options.optimized_model_filepath = str(folder / "ran.onnx")
        options.log_severity_level = 3
        session = open_session(bundle.model_path, options)
        feed = {session.get_inputs()[0].name: seeded_input(shape, 0)}
        for _ in range(WARM_UP + CALLS):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        ran = _made_by(ir.load(folder / "ran.onnx"))
    model = ir.load(bundle.model_path)
    run = _run(events, model, shape[0])
    attribute(run.nodes, model, ran)
    return run


def _made_by(model: ir.Model) -> dict[str, tuple[list[str], list[str]]]:
    """Names of what each node of a model reads and makes, by its name."""
    return {
        str(node.name): (
            [str(value.name) for value in node.inputs if value is not None],
            [str(value.name) for value in node.outputs],
        )
        for node in model.graph
    }


def _run(events: Iterable[Mapping[str, Any]], model: ir.Model, batch: int) -> Run:
    spans: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    peak: int | None = None
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            spans[event["name"].removesuffix(_SUFFIX)].append(event)
            held = event["args"].get("mem_in_use_peak")
            peak = max(peak or 0, int(held)) if held else peak
    nodes = [_timed(name, found[WARM_UP:] or found) for name, found in spans.items()]
    return Run(nodes, batch, peak, model)


def _timed(name: str, events: list[Mapping[str, Any]]) -> Timed:
    last = events[-1]["args"]
    return Timed(
        name=name,
        operator=str(last.get("op_name", "")),
        microseconds=median(float(event["dur"]) for event in events),
        shapes=_shapes(last.get("input_type_shape")),
        results=_shapes(last.get("output_type_shape")),
    )


def _shapes(listed: Any) -> tuple[Shape, ...]:
    return tuple(tuple(next(iter(entry.values()), ())) for entry in listed or ())


def attribute(
    nodes: Iterable[Timed], model: ir.Model, ran: Mapping[str, tuple[list[str], list[str]]]
) -> None:
    """Give each node that ran its torch module.

    By its name in the bundle's model; else by a result of its that the bundle's model has too,
    or by what it reads: ONNX Runtime keeps the names of values when it fuses or inserts nodes.
    """
    by_name = {str(node.name): node for node in model.graph}
    by_value = {str(value.name): node for node in model.graph for value in node.outputs}
    for timed in nodes:
        reads, makes = ran.get(timed.name, ([], []))
        known = [by_value[value] for value in (*makes, *reads) if value in by_value]
        own = by_name.get(timed.name)
        timed.node = own if own is not None and own.op_type == timed.operator else None
        source = own or next(iter(known), None)
        timed.module = "" if source is None else _module_of(source)


def _module_of(node: ir.Node) -> str:
    """Its torch module; of a node that only spans several, and has its line, the model itself."""
    return torch_module(node) or (ROOT if source_line(node) else "")


def as_profile(run: Run) -> Profile:
    """The run as a part of the report."""
    total = sum(node.microseconds for node in run.nodes)
    named = sum(node.microseconds for node in run.nodes if node.module)
    return Profile(
        threads=THREADS,
        calls=CALLS,
        batch=run.batch,
        nodes_ms=figures(total / 1e3),
        peak_activation_mb=None if run.peak_bytes is None else figures(run.peak_bytes / 1e6),
        attributed_percent=percent(named, total),
        modules=tuple(_shares(run.nodes, _module_namer(run.nodes), total)),
        operators=tuple(
            sorted(
                _shares(run.nodes, lambda node: node.operator, total), key=lambda s: -s.microseconds
            )
        ),
    )


def _module_namer(nodes: list[Timed]) -> Callable[[Timed], str]:
    """Names modules as deep as few enough are left, in every model at least by its children."""

    def at(depth: int) -> Callable[[Timed], str]:
        return lambda node: ".".join(node.module.split(".")[:depth]) or UNKNOWN

    deepest = max((node.module.count(".") + 1 for node in nodes), default=1)
    fitting = [
        depth
        for depth in range(1, deepest + 1)
        if len({at(depth)(node) for node in nodes}) <= MOST_MODULES
    ]
    return at(max(fitting, default=1))


def _shares(nodes: list[Timed], name: Callable[[Timed], str], total: float) -> list[Share]:
    """In the order in which they first ran."""
    held: dict[str, list[Timed]] = defaultdict(list)
    for node in nodes:
        held[name(node)].append(node)
    return [
        Share(
            name=key,
            nodes=len(found),
            microseconds=figures(sum(node.microseconds for node in found)),
            percent=percent(sum(node.microseconds for node in found), total),
        )
        for key, found in held.items()
    ]
