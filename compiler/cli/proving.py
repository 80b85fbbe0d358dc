"""From a bundle to its source's graph again, pass by pass: what `attnc bisect` and the deep checks
of `attnc verify` work on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError, UnsupportedError
from attnc.compiler.progress import SILENT, Progress

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from attnc.compiler.pipeline import Pass
    from attnc.compiler.trace.traced import TracedModel
    from attnc.runtimes.proof.blocks import Stage
    from attnc.runtimes.proof.key_choices import KeyAgreement
    from attnc.runtimes.proof.keys import Keys
    from attnc.runtimes.proof.passes import PassCheck, PassChecker
    from attnc.runtimes.proof.selection import StageAgreement

#: Of the inputs that every graph runs on.
SEEDS = (0, 11)
#: max |a - b| / max |b| of the traced graph against the source, both in float64. Sources that
#: have float32 written into their code differ by its rounding.
TRACE_LIMIT = 1e-5


@dataclass(frozen=True)
class Traced:
    """The source's graph before any pass, and inputs for it."""

    traced: TracedModel
    inputs: tuple[NDArray[np.float32], ...]
    chooses: bool

    @property
    def feed(self) -> dict[str, Any]:
        """The first input, by name."""
        return {str(self.traced.model.graph.inputs[0].name): self.inputs[0]}


def trace_again(bundle: Bundle, progress: Progress = SILENT) -> Traced:
    """Raises UnsupportedError or UsageError if the source is not to be had or has changed."""
    from attnc.compiler.seeded_input import seeded_input
    from attnc.compiler.source import rebuild, trace_options
    from attnc.compiler.trace import trace
    from attnc.runtimes.tolerance import is_discontinuous

    progress.stage("tracing the source again")
    rebuild(bundle)  # says so if the weights are others now
    options = trace_options(bundle)
    batch = bundle.manifest.batch
    count = 1 if batch == "dynamic" else batch
    traced = trace(options.pop("source"), **options, batch=count)
    sizes = tuple(int(size) for size in bundle.manifest.inputs[0].shape[1:])
    inputs = tuple(seeded_input((count, *sizes), seed) for seed in SEEDS)
    return Traced(traced, inputs, is_discontinuous(bundle))


def checker(given: Traced, model: ir.Model | None = None) -> PassChecker:
    """What checks passes on the traced graph, which they rewrite."""
    from attnc.runtimes.proof.passes import PassChecker

    return PassChecker(model or given.traced.model, given.inputs, chooses=given.chooses)


def check_passes(
    bundle: Bundle,
    repro: Path | None = None,
    progress: Progress = SILENT,
    passes: Sequence[Pass] | None = None,
) -> tuple[list[PassCheck], Path | None]:
    """All passes of the pipeline up to the first that is wrong, and the folder that shows it."""
    from attnc.passes.pipelines import default
    from attnc.runtimes.proof.repro import save_repro

    given = trace_again(bundle, progress)
    steps = list(passes if passes is not None else default())
    progress.stage("running the graph after every pass", len(steps))
    watched = checker(given)
    checks = list(watched.run(steps, progress.advance))
    if watched.wrong is None or repro is None:
        return checks, None
    return checks, save_repro(watched.wrong, repro)


@dataclass
class Depth:
    """What `attnc verify --stages` found: blocks, selections of tokens and of keys, and the error
    without and with these forced."""

    stages: list[Stage] = field(default_factory=list)
    selection: list[StageAgreement] = field(default_factory=list)
    forced: float | None = None
    free: float | None = None
    said: str = ""
    keys: list[KeyAgreement] = field(default_factory=list)
    forced_keys: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The document's entries."""
        return {
            "stages": [stage.as_json() for stage in self.stages],
            "selection": [stage.as_json() for stage in self.selection],
            "relative_error": self.free,
            "relative_error_with_forced_selection": self.forced,
            "keys": [layer.as_json() for layer in self.keys],
            "relative_error_with_forced_keys": self.forced_keys,
            "said": self.said,
        }


def look_into(bundle: Bundle, progress: Progress = SILENT) -> Depth:
    """Compare stage by stage. Raises UnsupportedError where ONNX Runtime runs nothing."""
    from attnc.runtimes.kernels_here import kernels_here
    from attnc.runtimes.onnx_session import infer, open_session, session_options
    from attnc.runtimes.proof import selection
    from attnc.runtimes.proof.float64 import compute64
    from attnc.runtimes.proof.metrics import measure
    from attnc.runtimes.proof.stages import compare_stages

    model = bundle_graph(bundle)
    given = trace_again(bundle, progress)
    kernels, _ = kernels_here(bundle)
    library = None if kernels is None else kernels.library
    source, feed = given.traced.model, given.feed
    progress.stage("comparing stage by stage")
    depth = Depth(compare_stages(source, model, library, feed))
    expected = compute64(source, feed)[0]
    options = session_options(None, library)
    got = next(iter(infer(open_session(bundle.model_path, options), feed).values()))
    depth.free = measure(got, expected).max_relative
    try:
        kept = selection.kept_by(model, library, feed)
        if kept:
            ranked = selection.rankings_of(source, feed)
            depth.selection = selection.agreement(ranked, kept)
            exact = selection.forced(model, library, feed, ranked)
            depth.forced = measure(exact, expected).max_relative
        keys = _keys(given, model, library)
        if keys is not None:
            depth.keys = list(keys.layers)
            depth.forced_keys = measure(keys.forced, expected).max_relative
        if not kept and keys is None:
            depth.said = "no operator of the bundle selects tokens or keys"
    except ValueError as error:
        depth.said = str(error)
    return depth


def _keys(given: Traced, bundle: ir.Model, library: Path | None) -> Keys | None:
    """The keys that the bundle keeps against the source's; None if it chooses none."""
    from attnc.compiler.pipeline import run_pipeline
    from attnc.passes.pipelines import default
    from attnc.runtimes.proof import keys

    if not any(keys.is_sparse(node) for node in bundle.graph):
        return None
    fused = given.traced.model.clone()
    run_pipeline(fused, default())
    return keys.compare_keys(bundle, library, given.feed, keys.choices_of(fused, given.feed))


def bundle_graph(bundle: Bundle) -> ir.Model:
    """The bundle's model file. Raises UnsupportedError where ONNX Runtime does not run it."""
    import onnx_ir as ir

    if bundle.manifest.coreml is not None or bundle.manifest.tensorrt is not None:
        raise UnsupportedError(
            f"a bundle for {bundle.manifest.target} is not compared stage by stage here",
            where=str(bundle.path),
            remedy="attnc verify compares its stages and outputs; attnc bisect narrows a failure",
        )
    return ir.load(bundle.model_path)


@dataclass(frozen=True)
class Finding:
    """Where a bundle goes wrong: `stage` is files, trace, passes, lowering, weights, kernels or
    nothing; `place` the node, its torch module and line; `looked` the stages that were right."""

    stage: str
    said: str
    looked: tuple[str, ...]
    name: str = ""
    place: dict[str, Any] | None = None
    repro: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The document of `attnc bisect --json`."""
        return asdict(self)


Step = Callable[[], "Finding | None"]


def damaged(bundle: Bundle) -> str:
    """What is wrong with the bundle's files; empty if nothing is."""
    try:
        bundle.check_files()
    except AttncError as error:
        return error.message
    return ""
