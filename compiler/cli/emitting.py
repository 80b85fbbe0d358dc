"""What an export does differently from target to target, behind one face.

An emitter lowers the graph, writes the model and its kernels into the bundle's folder, and says
what belongs into the manifest and into the readings beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from attnc.compiler import contents
from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import KernelLibrary
from attnc.compiler.progress import Progress
from attnc.compiler.seeded_input import seeded_input

if TYPE_CHECKING:
    import onnx_ir as ir

    from attnc.compiler.trace.traced import TracedModel
    from attnc.targets.cpu.fewer_bits import Precision as CpuPrecision
    from attnc.targets.profile import Profile


#: Class names in the order of the logits.
Labels = Sequence[str] | None


@dataclass(frozen=True)
class Emitted:
    """Fields of the manifest, and what varies from one export to the next.

    `reference_input` makes the inputs whose outputs are recorded; `finish` writes what the manifest
    says into files of the bundle.
    """

    fields: dict[str, Any]
    readings: dict[str, Any] = field(default_factory=dict)
    reference_input: contents.MakeInput = seeded_input
    finish: contents.Finish | None = None


class Emitter(Protocol):
    """`stage` says in a few words what `emit` does, for the progress display."""

    stage: str

    def emit(
        self, traced: TracedModel, folder: Path, progress: Progress, labels: Labels = None
    ) -> Emitted:
        """Lower the traced graph in place and write what the target needs into `folder`."""
        ...

    def refusals(self, model: ir.Model) -> Sequence[Any]:
        """Lower the graph in place; nodes left without their form, with `node` and `reason`."""
        ...


def emitter_of(
    profile: Profile,
    precision: str | None,
    kernels: bool,
    measure: bool | None,
    metadata: Mapping[str, str] | None = None,
    formats: Sequence[str] = (),
) -> Emitter:
    """The emitter for a profile. Raises UsageError if its target lacks the precision or format."""
    from attnc.compiler.cli.emit_formats import FormatsEmitter, formats_of

    others = formats_of(formats, profile.target)
    made = _emitter(profile, precision, kernels, measure, metadata)
    return FormatsEmitter(made, others) if others else made


def _emitter(
    profile: Profile,
    precision: str | None,
    kernels: bool,
    measure: bool | None,
    metadata: Mapping[str, str] | None,
) -> Emitter:
    if metadata and profile.target != "coreml":
        raise UsageError(
            f"target {profile.target} has no place for metadata",
            remedy="leave --metadata out, or export for --target coreml",
        )
    if profile.target == "tensorrt":
        from attnc.compiler.cli.emit_tensorrt import TensorrtEmitter

        return TensorrtEmitter(profile, precision or "fp16", kernels, measure)
    if profile.target == "coreml":
        from attnc.compiler.cli.emit_coreml import CoremlEmitter

        return CoremlEmitter(profile, precision or "fp16", metadata or {})
    if profile.target == "web":
        from attnc.compiler.cli.emit_web import WebEmitter

        return WebEmitter(profile, precision or "fp32")
    bits = _cpu_precision(profile, precision or "fp32")
    if profile.target in ("android", "arm64"):
        from attnc.compiler.cli.emit_arm import ArmEmitter

        return ArmEmitter(profile, kernels, bits)
    return CpuEmitter(profile, kernels, measure, bits)


def _cpu_precision(profile: Profile, wanted: str) -> CpuPrecision:
    from attnc.targets.cpu.fewer_bits import PRECISIONS

    for precision in PRECISIONS:
        if precision == wanted:
            return precision
    raise UsageError(
        f"target {profile.target} has no precision {wanted!r}",
        remedy=f"one of: {', '.join(PRECISIONS)}; others have --target tensorrt and coreml",
    )


class CpuEmitter:
    """ONNX Runtime with our kernel library."""

    stage = "packing the weights, timing the fused operators"

    def __init__(
        self,
        profile: Profile,
        kernels: bool,
        measure: bool | None,
        precision: CpuPrecision = "fp32",
    ) -> None:
        from attnc.runtimes.cpu.library import host_libraries

        self.profile, self.measure, self.precision = profile, measure, precision
        self.libraries = host_libraries(profile.resolved_platforms) if kernels else {}

    def emit(
        self, traced: TracedModel, folder: Path, progress: Progress, labels: Labels = None
    ) -> Emitted:
        """Packed weights, channels-last maps, the kernel libraries."""
        from attnc.compiler.cli.earning import judge
        from attnc.targets.cpu.emit import emit

        judged = judge(self.profile, self.libraries, self.measure, progress)
        emission = emit(
            traced.model, self.profile, folder, self.libraries, judged.keeps, self.precision
        )
        fields = {
            "precision": self.precision,
            "float32_regions": tuple(map(contents.refused, emission.more_bits)),
            "verdicts": judged.verdicts(),
            "not_lowered": tuple(map(contents.refused, emission.not_lowered)),
            "kernels": tuple(
                KernelLibrary(path=f"kernels/{self.libraries[name].name}", target=name)
                for name in sorted(self.libraries)
            ),
        }
        return Emitted(fields, {"verdicts": judged.readings()})

    def refusals(self, model: ir.Model) -> Sequence[Any]:
        """See `Emitter`."""
        from attnc.targets.cpu.lower import lower

        return lower(model)
