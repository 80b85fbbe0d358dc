"""Which kernels `attnc verify` can run here: the bundle's, or this machine's own in their place.

A bundle for a phone has a library that this machine cannot load. Its model then runs with the
library that was built here from the same sources, and the checks say so: `host-kernels`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import MissingRuntimeError, UsageError
from attnc.runtimes.checks import Check
from attnc.runtimes.onnx_session import session_options


@dataclass(frozen=True)
class Kernels:
    """A library that this machine loads; `mode` names it in the checks."""

    mode: Literal["kernels", "host-kernels"]
    library: Path


def kernels_here(bundle: Bundle) -> tuple[Kernels | None, list[Check]]:
    """The kernels to verify with, None if there are none, and what is to be said of the others."""
    from attnc.runtimes.cpu.library import host_target

    if bundle.manifest.web is not None:  # its kernels are in the engine, which runs anywhere
        return None, []
    host = host_target()
    if not bundle.manifest.kernels:
        return None, [_not_run("the bundle was exported without kernels")]
    checks = list(_foreign(bundle, host))
    try:
        kernels = _choose(bundle, host)
        session_options(None, kernels.library)
    except MissingRuntimeError as error:
        return None, [*checks, _not_run(error.message)]
    if kernels.mode == "host-kernels":
        checks.append(_not_run(f"the bundle has none for {host}; this machine's own run instead"))
    return kernels, checks


def _choose(bundle: Bundle, host: str) -> Kernels:
    from attnc.runtimes.cpu.library import library_path

    held = bundle.kernel_library(host)
    return Kernels("host-kernels", library_path()) if held is None else Kernels("kernels", held)


def _foreign(bundle: Bundle, host: str) -> Iterator[Check]:
    """Libraries for other machines: built, and looked at where it is known what they must be."""
    for library in bundle.manifest.kernels:
        if library.target == host:
            continue
        name = f"library/{library.target}"
        reason = f"built for {library.target}, which does not run on this machine ({host})"
        yield Check(name, "build-only", reason=reason)
        if library.target.startswith("android-"):
            yield _inspected(f"{name}/elf", bundle.path / library.path)


def _inspected(name: str, library: Path) -> Check:
    from attnc.runtimes.cpu.android import android_faults

    try:
        faults = android_faults(library)
    except UsageError as error:
        faults = [error.message]
    return Check(name, "failed" if faults else "verified", reason="; ".join(faults))


def _not_run(reason: str) -> Check:
    return Check("kernels", "not-verified", reason=reason)
