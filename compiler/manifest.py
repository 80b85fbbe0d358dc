"""The manifest: what a bundle holds, what it was built from, and by what.

Nothing in it varies from one export to the next: times and paths live in `readings.json`.
The schema is versioned and closed; unknown fields and newer versions are refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.manifest_parts import (
    FormatEntry,
    OrtFormatEntry,
    Part,
    RelativePath,
    WebEntry,
    first_fault,
)

VERSION = 1
FORMAT: Final = "attnc-bundle"
FILE_NAME = "manifest.json"


class FileEntry(Part):
    """One file of the bundle, path relative to its folder with forward slashes."""

    path: RelativePath
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class TensorSpec(Part):
    """A graph input or output; a dynamic dimension is its name, a fixed one its size."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Preprocessing(Part):
    """How a picture becomes the input: scale to cover, crop the centre, normalise.

    The picture is resized so that it covers `image_size / crop_fraction` (shorter side rule),
    the centre is cut out, then (value / 255 - mean) / std per channel, in RGB, NCHW.
    """

    image_size: tuple[int, int]
    crop_fraction: float = Field(gt=0, le=1)
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class SourceInfo(Part):
    """Where the model came from, and whether it can be rebuilt from this record alone."""

    kind: Literal["registry", "factory", "module", "onnx", "exported-program"]
    name: str
    options: dict[str, Any] = Field(default={})
    seed: int | None = None
    checkpoint_name: str | None = None
    checkpoint_sha256: str | None = None
    weights_sha256: str | None = None

    @property
    def rebuildable(self) -> bool:
        """False for a module handed over in Python: nothing on disk says how to make it."""
        return self.kind != "module"


class Place(Part):
    """A node that was left as it was, by a pass or in lowering, and why."""

    node: str
    module: str
    source: str
    reason: str


class PassEntry(Part):
    """What one pass did; `graph_hash` is of the graph after it."""

    name: str
    reason: str
    matches: int
    near_misses: tuple[Place, ...]
    nodes_before: int
    nodes_after: int
    graph_hash: str


class Verdict(Part):
    """Whether a fused operator at some shapes earned its place on the machine that exported.

    "body": its standard operators were faster, and stand in the graph in its place.
    """

    operator: str
    shapes: str
    nodes: int
    verdict: Literal["fused", "body", "not measured"]
    reason: str = ""


class KernelLibrary(Part):
    """A kernel library of the bundle and the machine it is for (`linux-x86_64`, ...)."""

    path: RelativePath
    target: str


class ReferenceCase(Part):
    """Outputs of the source model, recorded in float64 at export, for a seeded input."""

    seed: int
    input_shape: tuple[int, ...]
    path: RelativePath


class EngineEntry(Part):
    """An engine as TensorRT for RTX built it at export: what `attnc verify` expects to find again.

    `attentions` counts fused attentions; `names` are the kernels in the order in which they run.
    """

    sm: str
    precision: str
    batch: str
    kernels: int
    attentions: int
    plugin_layers: int
    plan_bytes: int
    plan_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    names: tuple[str, ...]


class TensorrtEntry(Part):
    """What a TensorRT bundle is for: the runtime, the least version, the GPUs, the plugins.

    `builds` is empty where TensorRT for RTX was not there to build with; `plan` is the engine's
    file, for profiles of TensorRT for RTX.
    """

    runtime: Literal["tensorrt-rtx", "tensorrt"]
    version: str
    compute_capabilities: tuple[str, ...]
    plugins: tuple[str, ...]
    builder: str | None
    builds: tuple[EngineEntry, ...]
    plan: RelativePath | None = None


class CoremlEntry(Part):
    """What a Core ML bundle is for and what its program is made of.

    `ios` is the oldest version that loads it. `input` "image": an RGB picture of the input's size,
    its preprocessing is in the program. `operations` by kind, without constants; `placement` counts
    what is known to leave the Neural Engine, by rule.
    """

    package: RelativePath
    ios: int
    specification_version: int
    input: Literal["image", "tensor"]
    classifier: bool
    operations: dict[str, int]
    placement: dict[str, int]
    weight_bytes: int


class Manifest(Part):
    """The whole record; written as `manifest.json`."""

    format: Literal["attnc-bundle"] = FORMAT
    version: int = VERSION
    model: str
    target: str
    profile: str
    precision: Literal[
        "fp32", "fp16", "bf16", "int8", "fp16w", "int8w", "pal8w", "pal6w", "pal4w"
    ] = "fp32"
    batch: int | Literal["dynamic"]
    opset: int
    ir_version: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing | None
    source: SourceInfo
    passes: tuple[PassEntry, ...]
    operators: dict[str, int]
    discontinuous: bool | None = None  # whether an operator of the model hides what it rates low
    not_lowered: tuple[Place, ...]
    verdicts: tuple[Verdict, ...] = ()
    kernels: tuple[KernelLibrary, ...]
    float32_regions: tuple[Place, ...] = ()
    tensorrt: TensorrtEntry | None = None
    coreml: CoremlEntry | None = None
    ort_format: OrtFormatEntry | None = None
    formats: tuple[FormatEntry, ...] = ()
    web: WebEntry | None = None
    reference: tuple[ReferenceCase, ...]
    built_with: dict[str, str]
    files: tuple[FileEntry, ...]
    digest: str = ""

    def sealed(self) -> Manifest:
        """The same manifest with `digest` set to the hash of everything else in it."""
        return self.model_copy(update={"digest": content_digest(self.model_dump(mode="json"))})

    def contents_digest(self) -> str:
        """The hash of all but the files: what a file of the bundle can say of the manifest."""
        document = self.model_dump(mode="json", exclude={"files", "digest"})
        return content_digest(document)

    def to_json(self) -> str:
        """Canonical text: sorted keys, two spaces, a final newline."""
        return canonical_json(self.model_dump(mode="json"))


def canonical_json(value: Any) -> str:
    """One text per value, so that equal manifests are equal bytes."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def content_digest(document: dict[str, Any]) -> str:
    """SHA-256 of the canonical text of `document` without its `digest` field."""
    body = {key: value for key, value in document.items() if key != "digest"}
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """The JSON schema of `manifest.json`."""
    return Manifest.model_json_schema()


def read_manifest(path: Path) -> Manifest:
    """Load and check a manifest.

    Raises UsageError if it is not one or was edited, UnsupportedError if it is of a newer version.
    """
    document = _read_document(path)
    _check_version(document, path)
    try:
        manifest = Manifest.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise UsageError(
            f"the manifest does not follow its schema: {first_fault(error)}",
            where=str(path),
            remedy="export the bundle again",
        ) from error
    if manifest.digest != content_digest(document):
        raise UsageError(
            f"{path.name} was edited after the export: its digest does not match its content",
            where=str(path),
            remedy="export the bundle again",
        )
    return manifest


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"no bundle at {path.parent}: {path.name} is missing",
            where=str(path),
            remedy="make one with `attnc export MODEL --target cpu -o FOLDER`",
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the manifest: {error}", where=str(path)) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UsageError(f"{path.name} is not the manifest of an attnc bundle", where=str(path))
    return document


def _check_version(document: dict[str, Any], path: Path) -> None:
    version = document.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise UsageError(f"the manifest has no valid version: {version!r}", where=str(path))
    if version > VERSION:
        raise UnsupportedError(
            f"the manifest has version {version}; this attnc reads up to version {VERSION}",
            where=str(path),
            remedy="install a newer attnc, or export the bundle again with this one",
        )


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, sort_keys=True))
