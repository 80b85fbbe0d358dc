"""The compiler of everything native: zig from PyPI, run into a temporary folder, then renamed.

What is up to date is left alone: a hash beside each result says what it was made from.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


class BuildError(RuntimeError):
    """The compiler is missing or refused a file; the text is its output."""


def zig_path() -> str:
    """The zig binary of the installed ziglang package (not `python -m ziglang`, which pip's
    isolated build environments cannot see)."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise BuildError("the compiler is not installed; try: pip install ziglang")
    binary = Path(spec.origin).parent / ("zig.exe" if os.name == "nt" else "zig")
    if not binary.exists():
        raise BuildError(f"no zig binary at {binary}; try: pip install --force-reinstall ziglang")
    return str(binary)


def compiler_version(compiler: str) -> str:
    """What the compiler says of itself. Raises BuildError if it cannot be started."""
    command = [compiler, "version" if Path(compiler).stem == "zig" else "--version"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise BuildError(f"{compiler}: {error.strerror}") from error


def run_compiler(command: list[str], cwd: Path) -> None:
    """Run it in a folder. Raises BuildError with what it says."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise BuildError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


@contextlib.contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """A temporary folder beside the results, so that they can be renamed into place."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".build-") as name:
        yield Path(name)


def add_files(digest: hashlib._Hash, files: Iterable[Path]) -> None:
    """Let names and contents of files count."""
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")


def renew(result: Path, wanted: str, make: Callable[[Path], None], *, force: bool = False) -> Path:
    """Let `make` write the result's file into a folder, unless the one that is there has this hash.

    Raises what `make` raises; the old file then stays.
    """
    stamp = result.with_name(f".{result.name}.hash")
    if not force and result.exists() and stamp.exists() and stamp.read_text() == wanted:
        return result
    with workspace(result.parent) as folder:
        make(folder)
        os.replace(folder / result.name, result)
        (folder / "hash").write_text(wanted)
        os.replace(folder / "hash", stamp)
    return result


def print_builds(what: str, names: Iterable[str], build: Callable[[str], Path]) -> int:
    """Build and name each with its size; returns the exit code of a command line."""
    try:
        for name in names:
            path = build(name)
            print(f"{path}  {path.stat().st_size / 1024:.0f} kB")
    except BuildError as error:
        print(f"{what} build failed: {error}", file=sys.stderr)
        return 1
    return 0
