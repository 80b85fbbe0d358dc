"""The other formats of a bundle: what writes and runs each, and whether it is right here."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError, MissingRuntimeError
from attnc.runtimes.checks import Check
from attnc.runtimes.lowered_runner import LoweredRunner


@dataclass(frozen=True)
class Format:
    """`packages` write and run it, by what is imported and what is installed; `extra` brings
    them."""

    name: Literal["tflite", "pte"]
    packages: tuple[tuple[str, str], ...]
    extra: str
    runner: str  # module:class

    @property
    def runner_class(self) -> type[LoweredRunner]:
        """What lowers to it and runs it."""
        module, _, name = self.runner.partition(":")
        found: type[LoweredRunner] = getattr(importlib.import_module(module), name)
        return found


FORMATS = (
    Format(
        "tflite",
        (("litert_torch", "litert-torch"), ("ai_edge_litert", "ai-edge-litert")),
        "litert",
        "attnc.runtimes.litert_runner:LitertRunner",
    ),
    Format(
        "pte",
        (("executorch", "executorch"),),
        "executorch",
        "attnc.runtimes.executorch_runner:ExecutorchRunner",
    ),
)
BY_NAME: dict[str, Format] = {entry.name: entry for entry in FORMATS}


def require(entry: Format) -> None:
    """Raise MissingRuntimeError if what writes the format is not installed."""
    for module, package in entry.packages:
        if not _installed(module):
            raise MissingRuntimeError(
                f"{package}, which writes and runs .{entry.name} files, is not installed",
                remedy=f"pip install 'attnc[{entry.extra}]'",
            )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # set to None in sys.modules
        return False


def format_checks(
    bundle: Bundle, run: Callable[[str, Any], list[Check]], names: Iterable[str] | None = None
) -> list[Check]:
    """The checks of the bundle's other formats; `run(mode, runner)` compares one of them.

    A runtime that is not here is said to be missing.
    """
    checks: list[Check] = []
    for held in bundle.manifest.formats:
        if names is not None and held.format not in names:
            continue
        runner = BY_NAME[held.format].runner_class.of_bundle(bundle, None)
        try:
            with runner:
                checks += run(held.format, runner)
        except MissingRuntimeError as error:
            reason = f"{error.message}; {error.remedy}"
            checks.append(Check(f"format/{held.format}", "not-verified", reason=reason))
        except AttncError as error:
            checks.append(Check(f"format/{held.format}", "failed", reason=error.message))
    return checks
