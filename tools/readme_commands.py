"""Run what the README and the pages of docs/ tell people to type, so that none of it rots.

Lines in `sh` blocks that begin with `attnc` and whole `python` blocks run, page by page, in one
temporary folder each; `make` lines must name a target. `<!-- not run: why -->` before a block
leaves it out.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(
    r"(?P<skip><!-- not run: [^>]+ -->\s*\n)?^```(?P<kind>sh|python)\n(?P<body>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
# A benchmark as long as its figures deserve has no place in a test.
_SHORT = {
    "bench": ("--sittings", "1", "--rounds", "2", "--burst", "1", "--footprint", "1"),
    "crossover": ("--quick", "--keep", "0.5", "--image-size", "112", "--batch", "1"),
}


@dataclass(frozen=True)
class Step:
    """One thing to do: `kind` is "attnc", "make" or "python"."""

    page: str
    kind: str
    text: str


def steps_of(page: str, text: str) -> list[Step]:
    """The steps of one page, in order."""
    steps = []
    for block in _BLOCK.finditer(text):
        if block["skip"]:
            continue
        if block["kind"] == "python":
            steps.append(Step(page, "python", block["body"]))
            continue
        for line in _joined(block["body"]).splitlines():
            head = line.split(maxsplit=1)[0] if line.split() else ""
            if head in {"attnc", "make"}:
                steps.append(Step(page, head, line))
    return steps


def _joined(body: str) -> str:
    """Lines that end in a backslash go on in the next one."""
    return re.sub(r"[ \t]*\\\n\s*", " ", body)


def all_steps(root: Path = ROOT) -> dict[str, list[Step]]:
    """Steps by page: the README first, then docs/."""
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    return {
        path.relative_to(root).as_posix(): steps_of(path.name, path.read_text("utf-8"))
        for path in pages
    }


def make_targets(root: Path = ROOT) -> set[str]:
    """The targets of the Makefile."""
    text = (root / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([A-Za-z][\w-]*):", text, flags=re.MULTILINE))


def run_step(step: Step, folder: Path) -> str:
    """Do a step in `folder`; returns what went wrong, or nothing."""
    if step.kind == "make":
        named = [
            word
            for word in shlex.split(step.text, comments=True)[1:]
            if re.fullmatch(r"[\w-]+", word)
        ]
        unknown = sorted(set(named) - make_targets())
        return f"no make target {unknown[0]}" if unknown else ""
    if step.kind == "python":
        command = [sys.executable, "-c", step.text]
    else:
        words = shlex.split(step.text, comments=True)[1:]
        short = _SHORT.get(words[0], ())
        command = [sys.executable, "-m", "attnc", *words, *short]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"exit code {done.returncode}\n{done.stderr[-2000:]}"


def run_page(steps: list[Step]) -> list[str]:
    """Do all steps of a page in one temporary folder; returns a message per failure."""
    failures = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _make_photo(folder / "photo.jpg")
        for step in steps:
            wrong = run_step(step, folder)
            if wrong:
                failures.append(f"{step.page}: {step.text.strip()}\n  {wrong}")
    return failures


def _make_photo(path: Path) -> None:
    """The pages say photo.jpg and mean anybody's."""
    from PIL import Image

    Image.radial_gradient("L").resize((320, 240)).convert("RGB").save(path)


def main() -> int:
    """Run everything; 0 if all of it works."""
    failures = []
    for page, steps in all_steps().items():
        print(f"{page}: {len(steps)} steps", flush=True)
        failures += run_page(steps)
    print("\n".join(failures) or "everything works")
    return int(bool(failures))


if __name__ == "__main__":
    raise SystemExit(main())
