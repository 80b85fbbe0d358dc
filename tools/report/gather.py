"""Everything that is known about bundles, as one document: read, and what can be measured here.

A part that cannot be had (no runtime, the source gone) becomes a note with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError
from attnc.compiler.progress import SILENT, Progress
from attnc.tools.report import reading
from attnc.tools.report.document import (
    BundleReport,
    Document,
    Example,
    Latency,
    Note,
    Picture,
    Profile,
    Verification,
)
from attnc.tools.report.evidence import by_bundle, latency, read_document, verification

if TYPE_CHECKING:
    import onnx_ir as ir

Found = TypeVar("Found")
#: Examples and the graph after the passes, by source.
Traces = dict[str, tuple[list[Example], "ir.Model"]]
#: Whose model runs here in ONNX Runtime as it would on the device, so that times say something.
PROFILED = ("cpu",)


@dataclass(frozen=True)
class Wanted:
    """What to look into: files of earlier runs, photographs, and what to run now.

    `quick` runs nothing at all: no profile, no example, no picture. `run` verifies now.
    """

    verify: tuple[Path, ...] = ()
    bench: tuple[Path, ...] = ()
    images: Path | None = None
    run: bool = False
    quick: bool = False


def gather(
    bundles: Sequence[Bundle], wanted: Wanted | None = None, progress: Progress = SILENT
) -> Document:
    """The report of these bundles, in this order.

    Raises UsageError for a file that is no report, or is about none of them, or without pictures
    where some were promised.
    """
    import attnc
    from attnc.runtimes.machine import machine_info
    from attnc.runtimes.photos import find_photos

    wanted = wanted or Wanted()
    if wanted.images is not None:
        find_photos(wanted.images)
    checks = [(path, read_document(path, "checks", "attnc verify")) for path in wanted.verify]
    times = [(path, read_document(path, "results", "attnc bench")) for path in wanted.bench]
    traces: Traces = {}
    held = zip(bundles, by_bundle(checks, bundles), by_bundle(times, bundles), strict=True)
    return Document(
        attnc=attnc.__version__,
        machine=machine_info(),
        bundles=tuple(
            gather_bundle(
                bundle,
                [verification(path.name, document) for path, document in verified],
                [latency(path.name, document) for path, document in timed],
                wanted,
                progress,
                traces,
            )
            for bundle, verified, timed in held
        ),
    )


def gather_bundle(
    bundle: Bundle,
    verifications: Sequence[Verification],
    latencies: Sequence[Latency],
    wanted: Wanted,
    progress: Progress = SILENT,
    traces: Traces | None = None,
) -> BundleReport:
    """One bundle's part; `traces` holds what was found by tracing the source of the one before."""
    manifest = bundle.manifest
    live = Live(bundle, wanted, progress, {} if traces is None else traces)
    now = live.verified() if wanted.run else []
    profile = None if wanted.quick else live.profile()
    examples = [] if wanted.quick else live.examples()
    pictures = [] if wanted.quick else live.pictures()
    passes = reading.passes(bundle)
    return BundleReport(
        title=f"{manifest.model}, {manifest.target}/{manifest.profile}, {manifest.precision}",
        folder=bundle.path.resolve().name,
        identity=reading.identity(bundle),
        memory=reading.memory(bundle),
        operators=dict(sorted(manifest.operators.items(), key=lambda item: (-item[1], item[0]))),
        passes=passes,
        nodes_traced=passes[0].nodes_before if passes else None,
        nodes_rewritten=passes[-1].nodes_after if passes else None,
        near_misses=reading.near_misses(bundle),
        verdicts=reading.verdicts(bundle),
        verifications=(*verifications, *now),
        latencies=tuple(latencies),
        profile=profile,
        examples=tuple(examples),
        pictures=tuple(pictures),
        notes=tuple(live.notes),
    )


@dataclass
class Live:
    """What is found out by running: each part or a note of why not."""

    bundle: Bundle
    wanted: Wanted
    progress: Progress
    traces: Traces = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    rewritten: ir.Model | None = None

    def verified(self) -> list[Verification]:
        """The checks of `attnc verify`, run now."""
        from attnc.tools.report.verifying import verify_now

        document = self._try(
            "parity", lambda: verify_now(self.bundle, self.wanted.images, self.progress)
        )
        return [] if document is None else [verification("run for this report", document)]

    def profile(self) -> Profile | None:
        """Time per module, and the roof."""
        target = self.bundle.manifest.target
        if target not in PROFILED:
            reason = f"bundles for {target} are not profiled here"
            self.notes.append(Note(about="profile", reason=reason))
            return None
        self.progress.stage(f"profiling {self.bundle.manifest.model}")
        return self._try("profile", self._profiled)

    def _profiled(self) -> Profile:
        from attnc.tools.report.roofline import roof
        from attnc.tools.report.session_profile import THREADS, as_profile, profile_bundle

        run = profile_bundle(self.bundle)
        return as_profile(run).model_copy(update={"roof": roof(run, THREADS)})

    def examples(self) -> list[Example]:
        """Before and after the first match of each fusion."""
        key = _same_source(self.bundle)
        if key not in self.traces:
            self.progress.stage(f"tracing {self.bundle.manifest.model} again")
            found = self._try("examples of the passes", self._retraced)
            if found is None:
                return []
            self.traces.clear()  # graphs are large
            self.traces[key] = found
        examples, self.rewritten = self.traces[key]
        return examples

    def _retraced(self) -> tuple[list[Example], ir.Model]:
        from attnc.tools.report.examples import retrace

        return retrace(self.bundle)

    def pictures(self) -> list[Picture]:
        """Where the model looks; nothing for a model that looks everywhere."""
        self.progress.stage(f"looking at photographs with {self.bundle.manifest.model}")
        return self._try("pictures", self._pictured) or []

    def _pictured(self) -> list[Picture]:
        from attnc.tools.report.pictures import pictures
        from attnc.tools.report.watching import watch

        watched = watch(self.bundle, self.rewritten)
        return [] if watched is None else pictures(self.bundle, watched, self.wanted.images)

    def _try(self, about: str, find: Callable[[], Found]) -> Found | None:
        try:
            return find()
        except AttncError as error:
            self.notes.append(Note(about=about, reason=error.message))
            return None


def _same_source(bundle: Bundle) -> str:
    """Equal for bundles of one source, whatever their targets: they are traced alike."""
    manifest = bundle.manifest
    return f"{manifest.source!r} {manifest.batch} {manifest.inputs[0].shape}"
