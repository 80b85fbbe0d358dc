"""What Python users and the command line call: export, open, explain.

With the command line the one place where emitting and running meet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.manifest import Manifest, Place
from attnc.compiler.progress import SILENT, Progress
from attnc.compiler.staging import check_output, staged_folder

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

    from attnc.compiler.cli.emitting import Emitter
    from attnc.compiler.pipeline import PassRecord
    from attnc.compiler.trace.traced import TracedModel
    from attnc.runtimes.attnc_runner import AttncRunner
    from attnc.runtimes.reference import Function
    from attnc.targets.profile import Profile

Batch = int | Literal["dynamic"]
ImageSize = int | tuple[int, int] | None


def export(
    model: str | Path | nn.Module,
    *,
    output: str | Path,
    target: str = "cpu",
    profile: str | None = None,
    precision: str | None = None,
    image_size: ImageSize = None,
    batch: Batch = 1,
    num_classes: int | None = None,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    labels: str | Path | None = None,
    metadata: Mapping[str, str] | None = None,
    formats: Sequence[str] = (),
    kernels: bool = True,
    measure: bool | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> Bundle:
    """Trace `model`, rewrite its graph and write a bundle into the folder `output`.

    `model` is a listed name, a torch module, `package.module:factory`, an .onnx or a .pt2 file;
    `image_size` pixels, one number or (height, width); `batch` a number or "dynamic"; `precision`
    as far as the target has it ("fp32", "fp16", "bf16", "int8w", "pal4w"), by default the target's
    own (cpu: fp32, tensorrt and coreml: fp16). `metadata` goes into Core ML packages;
    `formats` ("tflite", "pte") are written besides ONNX for android and arm64. `output`
    appears whole or not at all; an existing one is replaced only with `force`. `measure` says
    whether each fused operator is compared with its body; None: unless ATTNC_MEASURE is 0.
    Raises UsageError, UnsupportedError, or MissingRuntimeError if a kernel library is not built.
    """
    from attnc.compiler import contents
    from attnc.compiler.ops.choosing import any_chooses

    clock = Clock(progress)
    device = _profile(target, profile)
    emitter = _emitter(device, precision, kernels, measure, metadata, formats)
    check_output(Path(output), force=force)
    with clock.timed("trace", f"tracing {_name(model)}"):
        traced = _trace(model, image_size, batch, num_classes, checkpoint, seed, options)
    names = contents.read_labels(Path(labels), traced.outputs) if labels else None
    with clock.timed("passes", "rewriting the graph"):
        records = _run_passes(traced)
    chooses = any_chooses(traced.model.graph)  # before bodies take the place of operators
    with staged_folder(Path(output), force=force) as folder:
        with clock.timed("emit", emitter.stage):
            emitted = emitter.emit(traced, folder, progress, names)
        with clock.timed("reference", "recording outputs of the source"):
            make = emitted.reference_input
            cases = contents.write_reference(folder, _exact(traced), traced.input, make)
        if names is not None:
            contents.write_labels(folder, names)
        manifest = _manifest(traced, device, records).model_copy(
            update={"reference": cases, "discontinuous": chooses, **emitted.fields}
        )
        readings = _readings(model, checkpoint, records, clock) | emitted.readings
        contents.write_records(folder, manifest, readings, emitted.finish)
    return Bundle.open(output)


def compile_folder(
    model: str,
    folder: Path,
    *,
    image_size: int,
    batch: int,
    options: Mapping[str, Any],
    look: Callable[[ir.Model], None],
) -> None:
    """Write what a benchmark needs of a listed model for this machine, no bundle, into `folder`.

    `look` sees the graph after the passes, before it is lowered. Raises what `export` raises.
    """
    from attnc.compiler.cli.earning import judge
    from attnc.runtimes.cpu.library import host_libraries
    from attnc.targets.cpu.emit import emit

    device = _profile("cpu", None)
    libraries = host_libraries(device.resolved_platforms)
    traced = _trace(model, image_size, batch, None, None, 0, options)
    _run_passes(traced)
    look(traced.model)
    emit(traced.model, device, folder, libraries, judge(device, libraries, None, SILENT).keeps)


def open(path: str | Path, *, threads: int | None = None, kernels: bool = True) -> AttncRunner:
    """The bundle in folder `path`, checked and ready to run.

    `threads` sets ONNX Runtime's intra-op threads; `kernels=False` runs on the function bodies.
    Raises UsageError if it is no intact bundle or for Core ML, MissingRuntimeError if it has
    kernels for other machines only.
    """
    from attnc.runtimes.attnc_runner import AttncRunner

    bundle = Bundle.open(path)
    if bundle.manifest.coreml is not None:
        raise UsageError(
            "the bundle is for Core ML; ONNX Runtime has nothing to run in it",
            where=str(path),
            remedy="use `attnc run` and `attnc verify`, or the package on a Mac",
        )
    runner = AttncRunner(bundle, threads, kernels=kernels)
    runner.activate()
    return runner


@dataclass(frozen=True)
class Explanation:
    """What each pass did, and which operators stay on their function bodies."""

    model: str
    target: str
    records: tuple[PassRecord, ...]
    kept: tuple[Place, ...]

    def as_json(self) -> dict[str, Any]:
        """The document of `attnc explain --json`."""
        return {
            "model": self.model,
            "target": self.target,
            "passes": [{**r.to_json(), "seconds": round(r.seconds, 4)} for r in self.records],
            "not_lowered": [place.model_dump(mode="json") for place in self.kept],
        }


def explain(
    model: str | Path | nn.Module,
    *,
    target: str = "cpu",
    profile: str | None = None,
    image_size: ImageSize = None,
    batch: Batch = 1,
    checkpoint: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress = SILENT,
) -> Explanation:
    """Trace and rewrite as `export` does, and report on it; nothing is written."""
    from attnc.compiler import contents

    device = _profile(target, profile)
    emitter = _emitter(device, None, kernels=True, measure=False)
    progress.stage(f"tracing {_name(model)}")
    traced = _trace(model, image_size, batch, None, checkpoint, 0, options)
    progress.stage("rewriting the graph")
    records = _run_passes(traced)
    kept = tuple(contents.refused(refusal) for refusal in emitter.refusals(traced.model))
    return Explanation(traced.source.name, target, tuple(records), kept)


def rebuild_reference(bundle: Bundle) -> Function:
    """The bundle's source as a function of arrays. Raises AttncError if it is not to be had."""
    from attnc.compiler.source import rebuild
    from attnc.runtimes.reference import reference_function

    return reference_function(rebuild(bundle))


@dataclass
class Clock:
    """Tells the listener each stage and keeps the seconds it took."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str, text: str) -> Iterator[None]:
        """Around one stage."""
        self.progress.stage(text)
        begin = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begin, 3)


def _name(model: Any) -> str:
    return str(model) if isinstance(model, (str, Path)) else type(model).__name__


def _profile(target: str, name: str | None) -> Profile:
    from attnc.targets.profile import load_profile
    from attnc.targets.registry import get_target

    found = get_target(target)
    return load_profile(found.name, name or found.default_profile)


def _emitter(
    profile: Profile,
    precision: str | None,
    kernels: bool,
    measure: bool | None,
    metadata: Mapping[str, str] | None = None,
    formats: Sequence[str] = (),
) -> Emitter:
    """What writes a bundle's model for the profile's target."""
    from attnc.compiler.cli.emitting import emitter_of

    return emitter_of(profile, precision, kernels, measure, metadata, formats)


def _trace(
    model: Any,
    image_size: ImageSize,
    batch: Batch,
    num_classes: int | None,
    checkpoint: str | Path | None,
    seed: int,
    options: Mapping[str, Any] | None,
) -> TracedModel:
    from attnc.compiler.trace import trace

    traced = trace(
        model,
        image_size=image_size,
        batch=batch,
        num_classes=num_classes,
        checkpoint=checkpoint,
        seed=seed,
        options=options,
    )
    if len(traced.outputs) != 1:
        names = ", ".join(spec.name for spec in traced.outputs)
        raise UnsupportedError(
            f"{traced.source.name} has {len(traced.outputs)} outputs ({names}); one is supported",
            remedy="wrap the model in a module that returns the one you need",
        )
    return traced


def _run_passes(traced: TracedModel) -> list[PassRecord]:
    from attnc.compiler.pipeline import run_pipeline
    from attnc.passes.pipelines import default

    return run_pipeline(traced.model, default())


def _exact(traced: TracedModel) -> Function:
    from attnc.runtimes.reference import exact_function

    return exact_function(traced.reference)


def _manifest(traced: TracedModel, profile: Profile, records: list[PassRecord]) -> Manifest:
    """The manifest, but for the reference cases, the files and what the target adds."""
    from attnc.compiler import contents
    from attnc.runtimes.machine import package_versions

    model = traced.model
    tools = ("attnc", "numpy", "onnx", "onnx-ir", "onnxscript", "torch")
    return Manifest(
        model=traced.source.name,
        target=profile.target,
        profile=profile.name,
        batch=traced.batch,
        opset=model.graph.opset_imports.get("", profile.opset),
        ir_version=int(model.ir_version),
        inputs=(traced.input,),
        outputs=traced.outputs,
        preprocessing=traced.preprocessing,
        source=traced.source,
        passes=contents.pass_entries(records),
        operators=contents.count_operators(model),
        not_lowered=(),
        kernels=(),
        reference=(),
        built_with=package_versions(tools),
        files=(),
    )


def _readings(
    model: Any, checkpoint: str | Path | None, records: list[PassRecord], clock: Clock
) -> dict[str, Any]:
    """What differs from one export to the next; lies beside the manifest, outside its hashes."""
    from attnc.compiler.source import source_paths

    return {
        **source_paths(model, checkpoint),
        "seconds": clock.seconds,
        "pass_seconds": [[record.name, round(record.seconds, 4)] for record in records],
        "exported_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
