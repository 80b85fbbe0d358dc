"""Where onnxruntime-web is: for WebGPU, and as what the engine is compared with.

It is a package of npm. A page never loads it from elsewhere: what it needs is copied.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from attnc.compiler.errors import MissingRuntimeError
from attnc.runtimes.web.npm import bring, kept

VERSION = "1.30.0"
VARIABLE = "ATTNC_ORT_WEB"
#: What a page loads, by backend.
WASM = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
WEBGPU = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)


def cache_folder() -> Path:
    """Where it is kept once it is here."""
    return kept("onnxruntime-web", VERSION)


def ort_web() -> Path:
    """The folder with its files: named in the environment, kept, or brought by npm now.

    Raises MissingRuntimeError where it is not to be had.
    """
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else cache_folder()
    if _holds(folder):
        return folder
    if named:
        raise MissingRuntimeError(
            f"{VARIABLE} names {named}, which does not hold onnxruntime-web's files",
            remedy=f"name the folder `dist` of onnxruntime-web {VERSION}",
        )
    otherwise = f"name a folder with its files in {VARIABLE}"
    bring("onnxruntime-web", VERSION, "dist", folder, otherwise)
    return folder


def _holds(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (*WASM, *WEBGPU))


def copy_files(names: tuple[str, ...], folder: Path) -> None:
    """Copy files of onnxruntime-web into a folder."""
    source = ort_web()
    for name in names:
        shutil.copyfile(source / name, folder / name)
