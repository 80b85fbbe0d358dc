"""Run mypy over the folders under the names they are imported by.

The folder `compiler/` is the package `attnc.compiler`; mypy follows folders, so it is shown a
temporary tree of links in which the two agree.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def link_tree(root: Path, into: Path) -> Path:
    """Make `into/attnc/` with one link per package of the distribution."""
    package = into / "attnc"
    package.mkdir()
    for source in (root / "attnc").iterdir():
        if source.suffix in {".py", ".typed"}:
            (package / source.name).symlink_to(source)
    for folder in root.iterdir():
        if folder.name != "attnc" and (folder / "__init__.py").exists():
            (package / folder.name).symlink_to(folder, target_is_directory=True)
    return package


def main(folders: list[str]) -> int:
    """Check the named folders strictly; returns mypy's exit status."""
    with tempfile.TemporaryDirectory() as temporary:
        package = link_tree(ROOT, Path(temporary))
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
        command += ["--cache-dir", str(ROOT / ".mypy_cache"), "--follow-imports", "silent"]
        targets = [str(package / folder) for folder in folders]
        return subprocess.run([*command, *targets], cwd=temporary, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
