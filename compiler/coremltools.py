"""Imports coremltools without what it says of runtimes and versions that nobody uses here."""

from __future__ import annotations

import logging
from importlib import import_module
from types import ModuleType

from attnc.compiler.errors import MissingRuntimeError


def import_coremltools(name: str = "coremltools") -> ModuleType:
    """coremltools or one of its modules. Raises MissingRuntimeError where it is not installed."""
    log = logging.getLogger("coremltools")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingRuntimeError(
            f"Core ML packages are written and read with coremltools: {error}",
            remedy="pip install 'attnc[coreml]'",
        ) from error
    finally:
        log.setLevel(level)
