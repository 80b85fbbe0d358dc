"""What the benchmark asks of a child process: which runner, on which files, with which input."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Files:
    """Where one model lies, in the forms that runners take."""

    bundle: str  # the bundle's folder
    source: str  # the bundle that says how the source module is built
    plain: str = ""  # the plain export, an .onnx file; empty if no runner asked for it
    scratch: str = ""  # a folder for what a runner compiles once and loads in many processes


@dataclass(frozen=True)
class Request:
    """One runner at one setting; the input is made from `seed` in the child."""

    name: str
    factory: str  # `package.module:function`, called with (Files, threads), gives a Runner
    files: Files
    threads: int | None
    shape: tuple[int, ...]
    seed: int = 0
