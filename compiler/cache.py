"""Where attnc keeps what it may compute again: one folder per user, by each system's custom."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CACHE_VARIABLE = "ATTNC_CACHE"


def cache_folder() -> Path:
    """The folder that `ATTNC_CACHE` names, or the user's own; it need not exist."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "attnc"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "attnc/cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attnc"
