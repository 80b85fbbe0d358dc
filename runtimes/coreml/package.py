"""Opens a saved .mlpackage: the manifest, the model description, the program and its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.runtimes.coreml.blobs import BlobFile
from attnc.runtimes.coreml.features import Feature, program_types, read_features
from attnc.runtimes.coreml.messages import model_messages
from attnc.runtimes.coreml.parse import parse_program
from attnc.runtimes.coreml.program import Program
from attnc.runtimes.coreml.types import Array, TensorType

MANIFEST = "Manifest.json"
#: Stands for the folder of the model file in the names of weight files.
MODEL_FOLDER = "@model_path/"


@dataclass(frozen=True)
class Package:
    """An opened package; `inputs` and `outputs` are those of its default function."""

    path: Path
    program: Program
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    metadata: Mapping[str, str]
    specification_version: int


def open_package(path: Path) -> Package:
    """The package at `path`, its program and constants read and checked.

    Raises UsageError for a folder that is no package or a damaged one, UnsupportedError for a
    model that is no ML Program, MissingRuntimeError without coremltools.
    """
    model_file = find_model(path)
    model = read_model(model_file)
    program = parse_program(model.mlProgram, blob_reader(model_file.parent))
    return describe(path, model, program)


def find_model(path: Path) -> Path:
    """The model file that the manifest names as the root."""
    manifest = path / MANIFEST
    if not path.is_dir():
        raise _no_package(path, "it is no folder" if path.exists() else "it does not exist")
    try:
        content = json.loads(manifest.read_text("utf-8"))
        item = content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]
    except (OSError, ValueError) as error:
        raise _no_package(manifest, f"the manifest cannot be read: {error}") from error
    except (KeyError, TypeError) as error:
        raise _no_package(manifest, f"the manifest names no root model: {error}") from error
    root = path / "Data"
    file = root / str(item)
    if not file.resolve().is_relative_to(root.resolve()) or not file.is_file():
        raise _no_package(manifest, f"the root model '{item}' is not in the package")
    return file


def read_model(file: Path) -> Any:
    """The Model message of a file, known to hold an ML Program."""
    from google.protobuf.message import DecodeError

    model = model_messages().Model()
    try:
        model.ParseFromString(file.read_bytes())
    except (DecodeError, OSError) as error:
        raise _no_package(file, f"the model cannot be read: {error}") from error
    kind = model.WhichOneof("Type")
    if kind is None:
        raise _no_package(file, "the model is empty")
    if kind != "mlProgram":
        raise UnsupportedError(
            f"the model is a {kind}, not an ML Program",
            where=str(file),
            remedy='convert it with convert_to="mlprogram"',
        )
    return model


def blob_reader(folder: Path) -> Any:
    """Reads constants from the weight files below the model's folder, each opened once."""
    files: dict[str, BlobFile] = {}

    def read(name: str, offset: int, expect: TensorType) -> Array:
        file = folder / name.removeprefix(MODEL_FOLDER)
        if not file.resolve().is_relative_to(folder.resolve()):
            raise _no_package(folder, f"the weight file '{name}' is outside of the package")
        return files.setdefault(name, BlobFile(file)).read(offset, expect)

    return read


def describe(path: Path, model: Any, program: Program) -> Package:
    """The package with its features and metadata; one function or many."""
    description: Any = model.description
    name = description.defaultFunctionName or "main"
    owner = next((each for each in description.functions if each.name == name), description)
    if owner.state:
        raise UnsupportedError(
            f"the model has state '{owner.state[0].name}'",
            where=str(path),
            remedy="use a model without state",
        )
    if name not in program.functions:
        raise _no_package(path, f"the program has no function '{name}'")
    inputs, outputs = program_types(program.functions[name])
    return Package(
        path,
        program,
        read_features(owner.input, inputs),
        read_features(owner.output, outputs),
        read_metadata(description.metadata),
        int(model.specificationVersion),
    )


def read_metadata(message: Any) -> dict[str, str]:
    """The texts of the description and the user's own entries, by name."""
    fields = ("shortDescription", "versionString", "author", "license")
    texts = {name: str(getattr(message, name)) for name in fields if getattr(message, name)}
    return texts | {str(key): str(message.userDefined[key]) for key in message.userDefined}


def _no_package(where: Path, what: str) -> UsageError:
    return UsageError(
        f"not a readable Core ML package: {what}",
        where=str(where),
        remedy="give the path of a .mlpackage folder, saved whole",
    )
