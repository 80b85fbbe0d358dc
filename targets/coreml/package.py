"""A program as .mlpackage: input and output features, metadata, the same bytes on every export."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnc.targets.coreml.compress import add_compression
from attnc.targets.coreml.lower import PROBABILITIES
from attnc.targets.coreml.versions import target_of

if TYPE_CHECKING:
    from coremltools.converters.mil.mil import Program

PACKAGE = "model.mlpackage"
MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
LABEL = "classLabel"
#: What is left to coremltools: unused operations and constants that stand there twice.
_PASSES = ("common::dead_code_elimination", "common::const_deduplication")
#: Metadata of coremltools that differ from one export to the next.
_TOOL, _VARYING = "com.github.apple.coremltools", ("date", "time")


@dataclass(frozen=True)
class Features:
    """`picture`: [1,3,H,W] of an RGB picture, or None; `labels` of a classifier.

    `shapes`: those that a tensor may have, the default first; empty where it has one.
    """

    picture: tuple[int, ...] | None = None
    labels: Sequence[str] | None = None
    shapes: Sequence[Sequence[int]] = ()


def convert(program: Program, ios: int, features: Features, precision: str = "fp16") -> Any:
    """The program as coremltools' MLModel, its operations as they are, its weights stored as
    `precision` says."""
    import coremltools
    from coremltools.converters.mil.mil.passes.pass_pipeline import PassPipeline

    given: dict[str, Any] = {}
    if features.picture is not None:
        (name,) = program.functions["main"].inputs
        colour = coremltools.colorlayout.RGB
        given["inputs"] = [
            coremltools.ImageType(name=name, shape=features.picture, color_layout=colour)
        ]
    if features.shapes:
        given["inputs"] = [_enumerated(program, features.shapes)]
    if features.labels is not None:
        given["classifier_config"] = coremltools.ClassifierConfig(
            list(features.labels), LABEL, PROBABILITIES
        )
    pipeline = PassPipeline(list(_PASSES), "attnc")
    add_compression(pipeline, precision, program)
    with quiet():
        return coremltools.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=target_of(ios),
            compute_precision=coremltools.precision.FLOAT32,  # as it is: the types are in it
            pass_pipeline=pipeline,
            skip_model_load=True,
            **given,
        )


def _enumerated(program: Program, shapes: Sequence[Sequence[int]]) -> Any:
    import coremltools
    from coremltools.converters.mil.mil.types import nptype_from_builtin

    ((name, value),) = program.functions["main"].inputs.items()
    allowed = coremltools.EnumeratedShapes([list(shape) for shape in shapes], list(shapes[0]))
    return coremltools.TensorType(name, allowed, nptype_from_builtin(value.dtype))


def save(model: Any, folder: Path) -> Path:
    """Write the package into `folder`, with the same bytes for the same program."""
    path = folder / PACKAGE
    with quiet():
        model.save(str(path))
    edit(path, {})
    (path / "Manifest.json").write_text(_manifest(path), encoding="utf-8")
    for file in path.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    return path


def edit(path: Path, metadata: Mapping[str, str]) -> None:
    """Set metadata of a saved package: author, license, version, description, others by name."""
    from coremltools.proto import Model_pb2

    spec = Model_pb2.Model()
    spec.ParseFromString((path / MODEL).read_bytes())
    known = spec.description.metadata
    fields = {"author": "author", "license": "license", "version": "versionString"}
    fields["description"] = "shortDescription"
    for key, value in metadata.items():
        if key in fields:
            setattr(known, fields[key], value)
        else:
            known.userDefined[key] = value
    for key in [key for key in known.userDefined if key.startswith(_TOOL)]:
        if any(word in key for word in _VARYING):
            del known.userDefined[key]
    (path / MODEL).write_bytes(spec.SerializeToString(deterministic=True))


def _manifest(path: Path) -> str:
    """The package's list of items, with identifiers that only depend on their names."""
    document = json.loads((path / "Manifest.json").read_text(encoding="utf-8"))
    items = sorted(document["itemInfoEntries"].values(), key=lambda item: str(item["path"]))
    by_id = {str(uuid.uuid5(uuid.NAMESPACE_URL, str(item["path"]))): item for item in items}
    root = next(key for key, item in by_id.items() if str(item["path"]).endswith(".mlmodel"))
    document |= {"itemInfoEntries": by_id, "rootModelIdentifier": root}
    return json.dumps(document, indent=4, sort_keys=True) + "\n"


@contextmanager
def quiet() -> Iterator[None]:
    """Without coremltools' progress bars and its advice on versions of other packages."""
    import tqdm

    logger = logging.getLogger("coremltools")
    level, bar = logger.level, tqdm.tqdm.__init__
    logger.setLevel(logging.ERROR)

    def silent(self: Any, *arguments: Any, **named: Any) -> None:
        bar(self, *arguments, **{**named, "disable": True})

    tqdm.tqdm.__init__ = silent
    try:
        yield
    finally:
        logger.setLevel(level)
        tqdm.tqdm.__init__ = bar
