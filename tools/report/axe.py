"""Where axe-core is, which tells whether a page can be read by everybody; for tests of the page.

It is a package of npm, brought once and kept; the page never loads it.
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

VERSION = "4.10.2"
VARIABLE = "ATTNC_AXE"
SCRIPT = "axe.min.js"
PATIENCE = 120  # seconds for npm


def axe_script() -> Path:
    """The script: named in the environment, kept, or brought by npm now.

    Raises MissingRuntimeError where it is not to be had.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise MissingRuntimeError(f"{VARIABLE} names {named}, which is no file")
        return Path(named)
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    script = Path(root) / "attnc" / f"axe-core-{VERSION}" / SCRIPT
    if not script.is_file():
        _bring(script)
    return script


def _bring(script: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingRuntimeError(
            "axe-core is not here, and npm, which brings it, is not installed",
            remedy=f"install Node.js, or name {SCRIPT} in {VARIABLE}",
        )
    script.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=script.parent, prefix=".npm-") as name:
        archive = _packed(npm, Path(name))
        with tarfile.open(archive) as packed:
            packed.extract(f"package/{SCRIPT}", name, filter="data")
        os.replace(Path(name) / "package" / SCRIPT, script)


def _packed(npm: str, folder: Path) -> Path:
    command = [npm, "pack", "--json", f"axe-core@{VERSION}"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired as error:
        raise MissingRuntimeError("npm could not bring axe-core in time") from error
    if done.returncode:
        raise MissingRuntimeError(
            f"npm could not bring axe-core: {done.stderr.strip()[-300:]}",
            remedy=f"check the network, or name {SCRIPT} in {VARIABLE}",
        )
    return folder / str(json.loads(done.stdout)[0]["filename"])
