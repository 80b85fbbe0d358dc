"""Brings a part of an npm package to this machine, once: whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from attnc.compiler.errors import MissingRuntimeError

PATIENCE = 300  # seconds for npm


def kept(name: str, version: str) -> Path:
    """Where what is brought of a package is kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "attnc" / f"{name}-{version}"


def bring(name: str, version: str, part: str, target: Path, otherwise: str) -> None:
    """Put the file or folder `part` of a package at `target`; `otherwise` is what to do by hand.

    Raises MissingRuntimeError where npm is missing or cannot bring it.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise MissingRuntimeError(
            f"{name} is not here, and npm, which brings it, is not installed",
            remedy=f"install Node.js, or {otherwise}",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".npm-") as folder:
        work = Path(folder)
        archive = _packed(npm, f"{name}@{version}", work, otherwise)
        with tarfile.open(archive) as packed:
            packed.extractall(work, filter="data")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(work / "package" / part, target)


def _packed(npm: str, package: str, folder: Path, otherwise: str) -> Path:
    command = [npm, "pack", "--json", package]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired as error:
        raise MissingRuntimeError(f"npm could not bring {package} in time") from error
    if done.returncode:
        raise MissingRuntimeError(
            f"npm could not bring {package}: {done.stderr.strip()[-300:]}",
            remedy=f"check the network, or {otherwise}",
        )
    return folder / str(json.loads(done.stdout)[0]["filename"])
