"""From a case to the bundle that is gated: opened, or exported into a folder that goes away.

Exports keep every fused operator without timing it, so that what is counted does not depend on how
busy the machine was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnc.compiler.bundle import Bundle
from attnc.compiler.cli.workloads import Workloads
from attnc.compiler.errors import UsageError
from attnc.compiler.progress import Progress
from attnc.tools.gate.budget import Case


@dataclass(frozen=True)
class Subject:
    """A case with its bundle, the shape of the pictures that it is timed on, and its peers.

    `before` is the baseline's bundle if that sits beside it; `twin` has the plain export do so.
    """

    case: Case
    bundle: Bundle
    shape: tuple[int, ...]
    workloads: Workloads
    before: Bundle | None = None
    twin: bool = False

    @property
    def label(self) -> str:
        """The case's name."""
        return self.case.label


def bundles_of(cases: Sequence[Case], root: Path, folder: Path, progress: Progress) -> list[Bundle]:
    """The bundle of each case; equal settings are exported once, into `folder`.

    Paths in the budget file are relative to `root`. Raises what `export` and `Bundle.open` raise.
    """
    made: dict[str, Bundle] = {}
    found = []
    for case in cases:
        if case.bundle is not None:
            bundle = Bundle.open(root / case.bundle)
            _check_bundle(case, bundle)
        else:
            settings = {key: value for key, value in case.settings().items() if key != "threads"}
            key = json.dumps(settings, sort_keys=True)
            if key not in made:
                made[key] = _export(case, root, folder / f"bundle{len(made)}", progress)
            bundle = made[key]
        found.append(bundle)
    return found


def _export(case: Case, root: Path, output: Path, progress: Progress) -> Bundle:
    from attnc.compiler.cli.api import export

    assert case.model is not None
    return export(
        _model(case.model, root),
        output=output,
        target=case.target,
        profile=case.profile,
        precision=case.precision,
        image_size=case.image_size,
        batch=case.batch or 1,
        num_classes=case.num_classes,
        checkpoint=None if case.checkpoint is None else root / case.checkpoint,
        seed=case.seed,
        options=case.options,
        measure=False,
        progress=progress,
    )


def _model(name: str, root: Path) -> str:
    """Files are relative to the budget file; names and factories are what they are."""
    return str(root / name) if Path(name).suffix.lower() in {".onnx", ".pt2"} else name


def _check_bundle(case: Case, bundle: Bundle) -> None:
    manifest = bundle.manifest
    if manifest.target != case.target:
        raise UsageError(
            f"{case.label}: the bundle is for {manifest.target}, the case for {case.target}",
            where=str(bundle.path),
            remedy=f'target = "{manifest.target}"',
        )
    if case.batch is not None and manifest.batch not in ("dynamic", case.batch):
        raise UsageError(
            f"{case.label}: the bundle has batch {manifest.batch}, the case {case.batch}",
            where=str(bundle.path),
            remedy="leave `batch` out, or export the bundle for it",
        )


def shape_of(case: Case, bundle: Bundle) -> tuple[int, ...]:
    """The input that it is timed on."""
    own = bundle.manifest.batch
    batch = case.batch or (1 if own == "dynamic" else own)
    return (batch, *(int(size) for size in bundle.manifest.inputs[0].shape[1:]))
