"""attnc, the attention compiler: trace, rewrite, emit, prove.

The public names load on first use, so that `import attnc` costs no torch and no runtime.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Bundle", "Runner", "__version__", "build_model", "export", "open"]

_HOME = {
    "build_model": "attnc.model_defs.registry",
    "export": "attnc.compiler.cli.api",
    "open": "attnc.compiler.cli.api",
    "Bundle": "attnc.compiler.bundle",
    "Runner": "attnc.runtimes.runner",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'attnc' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
