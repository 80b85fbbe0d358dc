"""Bundles of the small models in tests/data, which stand for somebody's own package."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import attnc
from attnc.compiler.manifest import content_digest

DATA = Path(__file__).resolve().parent / "data"


def export_own(factory: str, folder: Path, **options: Any) -> Path:
    """Export `module:factory` of tests/data into a folder, which is returned."""
    sys.path.insert(0, str(DATA))
    try:
        attnc.export(factory, output=folder, **options)
    finally:
        sys.path.remove(str(DATA))
    return folder


def reseal(folder: Path) -> None:
    """Make the manifest of a changed bundle look as if it had been exported so."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    for entry in document["files"]:
        data = (folder / entry["path"]).read_bytes()
        entry["sha256"], entry["bytes"] = hashlib.sha256(data).hexdigest(), len(data)
    document["digest"] = content_digest(document)
    path.write_text(json.dumps(document))
