"""What the manifest is made of: closed records, paths that stay inside, the entry of ORT format."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


def _stay_inside(path: str) -> str:
    if ".." in path.split("/"):
        raise ValueError("must not leave the bundle")
    return path


RelativePath = Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)*$"), AfterValidator(_stay_inside)]


class Part(BaseModel):
    """Base of all parts: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def first_fault(error: ValidationError) -> str:
    """The first thing that a document has wrong: its key and what is said of it."""
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


class OrtFormatEntry(Part):
    """The model once more in ORT format, and the list of its operators for reduced builds.

    `converter` is the version of ONNX Runtime that wrote it, on which its bytes depend. It has no
    function bodies: where the bundle has kernels, it needs them.
    """

    model: RelativePath
    operators: RelativePath
    converter: str


class FormatEntry(Part):
    """The model for another runtime: one float32 NCHW input, one output, of fixed sizes.

    `converters` are the packages that wrote it, on whose versions its bytes depend.
    """

    format: Literal["tflite", "pte"]
    model: RelativePath
    converters: dict[str, str]


class WebEntry(Part):
    """What runs a bundle in a browser: the engine's program, its memory, what a page can show.

    `steps` by operator; `arena_bytes` and `weight_bytes` in memory; `views` by kind; `wide` are
    nodes of `model.onnx` with more than four dimensions, which WebGPU may refuse.
    """

    folder: RelativePath
    steps: dict[str, int]
    arena_bytes: int
    weight_bytes: int
    views: dict[str, int]
    wide: tuple[str, ...] = ()
