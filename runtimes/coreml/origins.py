"""Where the operations of a program come from: module and source line, from a bundle's side file.

The file speaks of operations by name; a package of somebody else has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnc.compiler.errors import UsageError
from attnc.runtimes.coreml.program import Operation

FILE_NAME = "origins.json"


def read_origins(file: Path) -> dict[str, dict[str, str]]:
    """The origins by operation name; UsageError for a file that is missing or damaged."""
    try:
        document = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(document, dict) or not all(map(_is_origin, document.values())):
        raise _damaged(file, "it is no mapping from operations to texts")
    return document


def origin_of(operation: Operation, origins: Mapping[str, Any]) -> tuple[str, str]:
    """Module and source line of an operation; two empty texts where nothing is known."""
    names = (operation.name, *(value.name for value in operation.outputs))
    found: list[Mapping[str, Any]] = [origins[name] for name in names if name in origins]
    origin = found[0] if found else {}
    return str(origin.get("module", "")), str(origin.get("source", ""))


def is_within(module: str, prefix: str) -> bool:
    """Whether a module is `prefix` or one of its parts: `stages.1` does not hold `stages.10`."""
    return module == prefix or module.startswith(f"{prefix}.")


def _is_origin(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _damaged(file: Path, what: str) -> UsageError:
    return UsageError(
        f"the origins of the operations cannot be read: {what}",
        where=str(file),
        remedy="export the bundle again",
    )
