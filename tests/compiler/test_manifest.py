"""The manifest: canonical, sealed, closed, and refused with a clear message when it is not ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.manifest import VERSION, Manifest, content_digest, json_schema, read_manifest

MINIMAL: dict[str, Any] = {
    "model": "net",
    "target": "cpu",
    "profile": "native",
    "batch": 1,
    "opset": 20,
    "ir_version": 9,
    "inputs": [{"name": "input", "dtype": "float32", "shape": [1, 3, 8, 8]}],
    "outputs": [{"name": "logits", "dtype": "float32", "shape": [1, 10]}],
    "preprocessing": None,
    "source": {"kind": "module", "name": "net"},
    "passes": [],
    "operators": {},
    "not_lowered": [],
    "kernels": [],
    "reference": [],
    "built_with": {"attnc": "0.1.0"},
    "files": [{"path": "model.onnx", "sha256": "0" * 64, "bytes": 3}],
}


def sealed() -> Manifest:
    return Manifest.model_validate_json(json.dumps(MINIMAL)).sealed()


def write(folder: Path, document: Any) -> Path:
    path = folder / "manifest.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return path


def reseal(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "digest": content_digest(document)}


def test_reads_back_what_was_written(tmp_path: Path) -> None:
    manifest = sealed()
    path = write(tmp_path, manifest.to_json())
    assert read_manifest(path) == manifest
    assert manifest.to_json() == sealed().to_json()


def test_every_edit_is_noticed(tmp_path: Path) -> None:
    document = json.loads(sealed().to_json())
    document["model"] = "other"
    with pytest.raises(UsageError, match=r"manifest.json was edited"):
        read_manifest(write(tmp_path, document))


def test_newer_version_is_refused_by_its_number(tmp_path: Path) -> None:
    document = reseal({**json.loads(sealed().to_json()), "version": VERSION + 1, "novelty": 1})
    with pytest.raises(UnsupportedError, match=f"version {VERSION + 1}.*up to version {VERSION}"):
        read_manifest(write(tmp_path, document))


@pytest.mark.parametrize("version", [0, -1, "1", None, True, 1.5])
def test_versions_that_are_none(tmp_path: Path, version: Any) -> None:
    document = {**json.loads(sealed().to_json()), "version": version}
    with pytest.raises(UsageError, match="no valid version"):
        read_manifest(write(tmp_path, document))


def test_unknown_field_is_named(tmp_path: Path) -> None:
    document = reseal({**json.loads(sealed().to_json()), "surprise": 1})
    with pytest.raises(UsageError, match="surprise"):
        read_manifest(write(tmp_path, document))


@pytest.mark.parametrize("path", ["../model.onnx", "/etc/passwd", "a/../../b", "", "a//b"])
def test_paths_stay_inside_the_bundle(tmp_path: Path, path: str) -> None:
    document = json.loads(sealed().to_json())
    document["files"][0]["path"] = path
    with pytest.raises(UsageError, match=r"files\.0\.path"):
        read_manifest(write(tmp_path, reseal(document)))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": "zip"}', "\x00\xff"])
def test_files_that_are_no_manifest(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="manifest"):
        read_manifest(write(tmp_path, text))


def test_missing_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"(?s)no bundle at .*attnc export"):
        read_manifest(tmp_path / "manifest.json")


def test_schema_is_closed_and_complete() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert set(MINIMAL) <= set(schema["properties"])
    json.dumps(schema)
