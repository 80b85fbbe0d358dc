"""What a bundle holds besides the model: labels, recorded outputs, README, manifest, readings."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import (
    LABELS_FILE,
    READINGS_FILE,
    README_FILE,
    REFERENCE_FOLDER,
    list_files,
)
from attnc.compiler.bundle_readme import bundle_readme
from attnc.compiler.errors import ParityError, UsageError
from attnc.compiler.manifest import (
    FILE_NAME,
    Manifest,
    PassEntry,
    Place,
    ReferenceCase,
    TensorSpec,
    canonical_json,
)
from attnc.compiler.seeded_input import seeded_input

if TYPE_CHECKING:
    import onnx_ir as ir

    from attnc.compiler.pipeline import NearMiss, PassRecord

REFERENCE_SEEDS = (0, 1)
DYNAMIC_BATCH = 2  # of the recorded inputs where the bundle's batch is free

Function = Callable[[NDArray[np.float32]], NDArray[Any]]
MakeInput = Callable[[tuple[int, ...], int], NDArray[np.float32]]
#: Writes what the manifest says into files of the bundle, before they are listed.
Finish = Callable[[Path, Manifest], None]


def read_labels(path: Path, outputs: Sequence[TensorSpec]) -> list[str]:
    """Class names from a text file, one per line. Raises UsageError if they do not fit."""
    try:
        labels = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the labels: {error}", where=str(path)) from error
    classes = outputs[0].shape[-1]
    if len(labels) != classes:
        raise UsageError(
            f"{path} names {len(labels)} classes, the model has {classes}",
            where=str(path),
            remedy="one name per line, in the order of the logits",
        )
    return labels


def write_labels(folder: Path, labels: Iterable[str]) -> None:
    """Write `labels.txt`."""
    text = "".join(f"{label}\n" for label in labels)
    (folder / LABELS_FILE).write_text(text, encoding="utf-8")


def write_reference(
    folder: Path, source: Function, spec: TensorSpec, make: MakeInput = seeded_input
) -> tuple[ReferenceCase, ...]:
    """Record what the source model gives for the inputs that `make` gives for seeds.

    `source` computes in float64 if it can.

    Raises ParityError if it gives NaN or infinite values, with which nothing can be compared.
    """
    (folder / REFERENCE_FOLDER).mkdir()
    batch, *rest = (size if isinstance(size, int) else DYNAMIC_BATCH for size in spec.shape)
    shape = (batch, *rest)
    cases = []
    for seed in REFERENCE_SEEDS:
        output = np.ascontiguousarray(source(make(shape, seed)), np.float32)
        if not np.isfinite(output).all():
            raise ParityError(
                f"the source model gives NaN or infinite values for the seeded input {seed}",
                remedy="check its weights",
            )
        path = f"{REFERENCE_FOLDER}/seed{seed}.npy"
        (folder / path).write_bytes(_npy(output))
        cases.append(ReferenceCase(seed=seed, input_shape=shape, path=path))
    return tuple(cases)


def _npy(array: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def write_records(
    folder: Path, manifest: Manifest, readings: dict[str, Any], finish: Finish | None = None
) -> Manifest:
    """Write the README, the readings and, last, the sealed manifest that lists all files."""
    if finish is not None:
        finish(folder, manifest)
    (folder / README_FILE).write_text(bundle_readme(manifest), encoding="utf-8")
    (folder / READINGS_FILE).write_text(canonical_json(readings), encoding="utf-8")
    complete = manifest.model_copy(update={"files": list_files(folder)}).sealed()
    (folder / FILE_NAME).write_text(complete.to_json(), encoding="utf-8")
    return complete


def pass_entries(records: Iterable[PassRecord]) -> tuple[PassEntry, ...]:
    """The pipeline's records as the manifest keeps them, without times."""
    return tuple(PassEntry.model_validate(record.to_json()) for record in records)


def place(miss: NearMiss) -> Place:
    """A near-miss, or a node that was not lowered, as the manifest keeps it."""
    return Place(node=miss.node, module=miss.module, source=miss.source, reason=miss.reason)


def refused(refusal: Any) -> Place:
    """A node that a target left without its form (it has `node` and `reason`)."""
    from attnc.compiler.pipeline import NearMiss

    return place(NearMiss.at(refusal.node, refusal.reason))


def count_operators(model: ir.Model) -> dict[str, int]:
    """Nodes of the main graph by operator, `domain::name` for those outside the standard."""
    return dict(
        Counter(
            f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            for node in model.graph
        )
    )
