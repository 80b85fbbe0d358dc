"""What a bundle's own records say: manifest, readings, sizes. Nothing is run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from attnc.compiler.bundle import KERNEL_FOLDER, Bundle
from attnc.compiler.manifest import Place, TensorSpec
from attnc.tools.report.document import (
    File,
    Identity,
    Memory,
    NearMissLine,
    PassLine,
    VerdictLine,
)
from attnc.tools.report.rounding import figures


def identity(bundle: Bundle) -> Identity:
    """What was built, from what, by what."""
    manifest, source = bundle.manifest, bundle.manifest.source
    return Identity(
        model=manifest.model,
        target=manifest.target,
        profile=manifest.profile,
        precision=manifest.precision,
        batch=manifest.batch,
        inputs=tuple(_tensor(spec) for spec in manifest.inputs),
        outputs=tuple(_tensor(spec) for spec in manifest.outputs),
        opset=manifest.opset,
        source_kind=source.kind,
        source_name=source.name,
        source_options=source.options,
        seed=source.seed,
        checkpoint=source.checkpoint_name,
        checkpoint_sha256=source.checkpoint_sha256,
        weights_sha256=source.weights_sha256,
        exported_at=bundle.readings().get("exported_at"),
        built_with=manifest.built_with,
        digest=manifest.digest,
    )


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name}: {spec.dtype} {'x'.join(map(str, spec.shape))}"


def memory(bundle: Bundle) -> Memory:
    """Sizes on disk; in memory as far as the manifest or the model's own weights tell."""
    manifest = bundle.manifest
    sizes = {entry.path: entry.bytes for entry in manifest.files}
    web, coreml = manifest.web, manifest.coreml
    weights: int | None = None
    if web is not None:
        weights = web.weight_bytes
    elif coreml is not None:
        weights = coreml.weight_bytes
    elif bundle.model_path.is_file():
        weights = _weight_bytes(bundle.model_path)
    model = sizes.get(bundle.model_path.name)
    kernels = sum(size for path, size in sizes.items() if path.startswith(f"{KERNEL_FOLDER}/"))
    return Memory(
        bundle_mb=figures(sum(sizes.values()) / 1e6),
        model_mb=None if model is None else figures(model / 1e6),
        kernels_mb=figures(kernels / 1e6),
        weights_mb=None if weights is None else figures(weights / 1e6),
        arena_mb=None if web is None else figures(web.arena_bytes / 1e6),
        files=tuple(File(path=path, kilobytes=figures(size / 1e3)) for path, size in sizes.items()),
    )


def _weight_bytes(path: Path) -> int:
    import onnx_ir as ir

    values = ir.load(path).graph.initializers.values()
    return sum(value.const_value.nbytes for value in values if value.const_value is not None)


def passes(bundle: Bundle) -> tuple[PassLine, ...]:
    """All passes in order, with the seconds they took where the readings are still there."""
    times = bundle.readings().get("pass_seconds") or []
    names = [entry.name for entry in bundle.manifest.passes]
    timed = [name for name, _ in times] == names
    return tuple(
        PassLine(
            number=number,
            name=entry.name,
            reason=entry.reason,
            matches=entry.matches,
            nodes_before=entry.nodes_before,
            nodes_after=entry.nodes_after,
            near_misses=len(entry.near_misses),
            graph_hash=entry.graph_hash,
            seconds=figures(times[number - 1][1]) if timed else None,
        )
        for number, entry in enumerate(bundle.manifest.passes, start=1)
    )


def near_misses(bundle: Bundle) -> tuple[NearMissLine, ...]:
    """Of all passes and of the lowering; what two passes of one name say alike stands once."""
    manifest = bundle.manifest
    listed: list[tuple[str, Place]] = [
        (entry.name, place) for entry in manifest.passes for place in entry.near_misses
    ]
    listed += [("lowering", place) for place in manifest.not_lowered]
    listed += [("float32 region", place) for place in manifest.float32_regions]
    return tuple(
        NearMissLine(
            step=step,
            node=place.node,
            module=place.module,
            line=place.source,
            reason=place.reason,
            count=count,
        )
        for (step, place), count in Counter(listed).items()
    )


def verdicts(bundle: Bundle) -> tuple[VerdictLine, ...]:
    """The verdicts of the export, with the times from its readings."""
    readings: Any = bundle.readings().get("verdicts") or []
    times = {(row.get("operator"), row.get("shapes")): row for row in readings}
    found = []
    for verdict in bundle.manifest.verdicts:
        row = times.get((verdict.operator, verdict.shapes), {})
        fused, body = row.get("fused_us"), row.get("body_us")
        ratio = figures(body / fused) if fused and body else None
        line = VerdictLine(
            **verdict.model_dump(), fused_us=fused, body_us=body, body_over_fused=ratio
        )
        found.append(line)
    return tuple(found)
