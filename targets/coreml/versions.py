"""Deployment targets: which iOS knows which operations of MIL, and the programs they need.

iOS 16, 17 and 18 stand for macOS 13, 14 and 15 of the same years.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from attnc.compiler.coremltools import import_coremltools
from attnc.compiler.errors import UsageError

#: Deployment targets of profiles; older ones have no ML Programs.
KNOWN = (15, 16, 17, 18)


def target_of(ios: int) -> Any:
    """coremltools' name of the deployment target. Raises UsageError if there is none."""
    coremltools = import_coremltools()
    if ios not in KNOWN:
        known = ", ".join(str(version) for version in KNOWN)
        raise UsageError(f"no deployment target iOS {ios}", remedy=f"one of: {known}")
    return getattr(coremltools.target, f"iOS{ios}")


@cache
def oldest(kind: str) -> int:
    """The first iOS (since 15) with this operation."""
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    versions = SSAOpRegistry.core_ops[kind]
    return min(max(15, int(version.name.removeprefix("iOS"))) for version in versions)
