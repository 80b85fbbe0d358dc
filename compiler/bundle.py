"""A bundle on disk: a folder, its manifest, and the promise that its files are those listed.

Opening reads the manifest and checks every hash, so nothing that was edited or cut short is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import FILE_NAME, FileEntry, Manifest, read_manifest

MODEL_FILE = "model.onnx"
README_FILE = "README.md"
LABELS_FILE = "labels.txt"
READINGS_FILE = "readings.json"
KERNEL_FOLDER = "kernels"
REFERENCE_FOLDER = "reference"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Bundle:
    """What `attnc export` wrote: `path` is its folder, `manifest` says what is in it."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, *, check: bool = True) -> Bundle:
        """Read the bundle in folder `path`; `check` compares every file with its hash.

        Raises UsageError if it is none or a file is missing or changed, UnsupportedError if its
        manifest is of a newer version.
        """
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; a bundle is a folder", where=str(folder))
        bundle = cls(folder, read_manifest(folder / FILE_NAME))
        if check:
            bundle.check_files()
        return bundle

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.path / MODEL_FILE

    @property
    def identity(self) -> dict[str, str]:
        """Which bundle this is, for reports about it."""
        m = self.manifest
        said = {"model": m.model, "target": m.target, "profile": m.profile}
        return said | {"precision": m.precision, "digest": m.digest}

    @property
    def labels(self) -> list[str] | None:
        """Class names in the order of the logits, None if the bundle has none."""
        file = self.path / LABELS_FILE
        listed = any(entry.path == LABELS_FILE for entry in self.manifest.files)
        return file.read_text(encoding="utf-8").splitlines() if listed else None

    def check_files(self) -> None:
        """Raise UsageError naming the first file that is missing or differs from its hash."""
        for entry in self.manifest.files:
            file = self.path / entry.path
            if not file.is_file():
                raise self._broken(f"{entry.path} is missing from the bundle", file)
            if file.stat().st_size != entry.bytes or file_sha256(file) != entry.sha256:
                raise self._broken(
                    f"{entry.path} is not the file that was exported: its hash differs", file
                )

    def kernel_library(self, target: str) -> Path | None:
        """The kernel library for machine `target` (`linux-x86_64`, ...), None if it has none."""
        for library in self.manifest.kernels:
            if library.target == target:
                return self.path / library.path
        return None

    def readings(self) -> dict[str, Any]:
        """What varied at export (times, paths); empty when the side file is gone."""
        try:
            loaded = json.loads((self.path / READINGS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    @staticmethod
    def _broken(message: str, file: Path) -> UsageError:
        return UsageError(message, where=str(file), remedy="export the bundle again")


def list_files(folder: Path, names: Iterable[str] | None = None) -> tuple[FileEntry, ...]:
    """Entries for the files below `folder`, sorted; `readings.json` and the manifest left out."""
    outside = {FILE_NAME, READINGS_FILE}
    found = names or (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return tuple(
        FileEntry(
            path=name, sha256=file_sha256(folder / name), bytes=(folder / name).stat().st_size
        )
        for name in sorted(set(found) - outside)
    )
