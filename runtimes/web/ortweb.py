"""Where onnxruntime-web is: for WebGPU, and as what the engine is compared with.

It is a package of npm. A page never loads it from elsewhere: what it needs is copied.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from attnc.compiler.errors import MissingRuntimeError

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
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "attnc" / f"onnxruntime-web-{VERSION}"


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
    _bring(folder)
    return folder


def _holds(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (*WASM, *WEBGPU))


def _bring(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingRuntimeError(
            "onnxruntime-web is not here, and npm, which brings it, is not installed",
            remedy=f"install Node.js, or name a folder with its files in {VARIABLE}",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".npm-") as name:
        work = Path(name)
        command = [npm, "pack", "--json", f"onnxruntime-web@{VERSION}"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingRuntimeError(
                f"npm could not bring onnxruntime-web: {done.stderr.strip()[-300:]}",
                remedy=f"check the network, or name a folder with its files in {VARIABLE}",
            )
        archive = work / json.loads(done.stdout)[0]["filename"]
        with tarfile.open(archive) as packed:
            packed.extractall(work, filter="data")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(work / "package" / "dist", folder)


def copy_files(names: tuple[str, ...], folder: Path) -> None:
    """Copy files of onnxruntime-web into a folder."""
    source = ort_web()
    for name in names:
        shutil.copyfile(source / name, folder / name)
