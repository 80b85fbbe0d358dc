"""What the tests of packages share: a bundle with names of classes, one without, their packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import attnc
from attnc.tools.packaging.kinds import Package, write_package

DATA = str(Path(__file__).resolve().parent / "data")
NAMES = [f'thing "{index}"' for index in range(10)]


def export_both(
    factory: pytest.TempPathFactory, how: dict[str, Any], **shvit: Any
) -> dict[str, Path]:
    """Exported as `how` says; SHViT also with the options `shvit`."""
    folder = factory.mktemp("bundles")
    labels = folder / "labels.txt"
    labels.write_text("".join(f"{name}\n" for name in NAMES))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DATA)
        attnc.export("tiny_net:build", output=folder / "named", labels=labels, **how)
        attnc.export("shvit_s1", output=folder / "shvit", image_size=64, **how, **shvit)
    return {name: folder / name for name in ("named", "shvit")}


def write_both(
    bundles: dict[str, Path], kind: str, factory: pytest.TempPathFactory
) -> dict[str, Package]:
    """A package of each."""
    folder = factory.mktemp("packages")
    return {name: write_package(bundle, kind, folder / name) for name, bundle in bundles.items()}


def files_of(folder: Path) -> set[str]:
    """Paths of all files, relative to the folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def assert_same_bytes(first: Path, second: Path) -> None:
    """Two folders hold the same files with the same bytes."""
    assert files_of(first) == files_of(second)
    for name in files_of(first):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
