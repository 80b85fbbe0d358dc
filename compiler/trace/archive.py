"""`.pt2`: a program saved by `torch.export.save`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attnc.compiler.errors import UsageError

from .quiet import one_line, quiet

if TYPE_CHECKING:
    import torch


def load_archive(path: Path) -> torch.export.ExportedProgram:
    """Read the archive, or UsageError with torch's reason."""
    import torch

    if not path.is_file():
        raise UsageError(f"no file at {path}")
    try:
        with quiet():
            return torch.export.load(path)
    except Exception as error:  # zip, JSON, schema: each layer has its own exceptions
        raise UsageError(
            f"{path.name} is not a readable torch.export archive: {one_line(error)}",
            where=str(path),
            remedy="torch.export.save(torch.export.export(model, args), path), by this version of "
            "torch or an older one",
        ) from error
