"""Real photographs for verification: a folder of the user's, or the two of scikit-learn."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from attnc.compiler.errors import UsageError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
NONE_HERE = "no photographs: scikit-learn is not installed (give a folder with --images)"


def find_photos(folder: Path | None = None) -> list[Path]:
    """Pictures in `folder`, or scikit-learn's if None; empty if that is not installed.

    Raises UsageError if `folder` holds no picture.
    """
    if folder is None:
        return _scikit_learn()
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder of pictures")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise UsageError(f"{folder} holds no pictures ({', '.join(sorted(_SUFFIXES))})")
    return found


def _scikit_learn() -> list[Path]:
    # Found without importing it, which takes a second.
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        return []
    images = Path(spec.submodule_search_locations[0]) / "datasets" / "images"
    return sorted(images.glob("*.jpg"))
