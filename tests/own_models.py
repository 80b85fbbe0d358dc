"""Bundles of the small models in tests/data, which stand for somebody's own package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attnc

DATA = Path(__file__).resolve().parent / "data"


def export_own(factory: str, folder: Path, **options: Any) -> Path:
    """Export `module:factory` of tests/data into a folder, which is returned."""
    sys.path.insert(0, str(DATA))
    try:
        attnc.export(factory, output=folder, **options)
    finally:
        sys.path.remove(str(DATA))
    return folder
