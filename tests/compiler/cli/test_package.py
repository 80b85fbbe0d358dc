"""`attnc package`: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import attnc

pytest.importorskip("coremltools")

DATA = str(Path(__file__).resolve().parents[2] / "data")
USAGE, UNSUPPORTED = 2, 3
SWIFT = ["--kind", "swiftpm"]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Core ML bundles of one picture and of two; not to be changed."""
    folder = tmp_path_factory.mktemp("coreml")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DATA)
        for batch in (1, 2):
            output = folder / str(batch)
            attnc.export("tiny_net:build", output=output, target="coreml", batch=batch)
    return {"one": folder / "1", "two": folder / "2"}


@pytest.fixture
def bundle(bundles: dict[str, Path]) -> Path:
    return bundles["one"]


def refused(done: Any, code: int, *said: str) -> None:
    assert done.code == code, done.err
    assert done.out == ""
    assert done.err.startswith("error:"), done.err
    for text in said:
        assert text in done.err, done.err


def test_a_package_and_its_report(cli: Any, bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "Tiny"
    done = cli("package", bundle, *SWIFT, "-o", output, "--json", "-")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["kind"], report["name"]) == ("swiftpm", "TinyNetBuild")
    assert report["path"] == str(output)
    assert all((output / file).is_file() for file in report["files"])
    assert "TinyNetBuild" in done.err


def test_help_names_the_kinds(cli: Any) -> None:
    from attnc.tools.packaging.kinds import KINDS

    text = cli("package", "--help").out
    assert all(kind.name in text for kind in KINDS)


def test_an_output_that_is_there(cli: Any, bundle: Path, tmp_path: Path) -> None:
    mine = tmp_path / "out" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    how = ["package", bundle, *SWIFT, "-o", mine.parent]
    refused(cli(*how), USAGE, "is not empty", "--force")
    assert mine.read_text() == "mine"
    assert cli(*how, "--force").code == 0
    assert not mine.exists()
    assert (mine.parent / "Package.swift").exists()


@pytest.mark.parametrize(
    ("kind", "said"), [("swiftpn", "did you mean swiftpm?"), ("floppy", "one of: swiftpm")]
)
def test_unknown_kinds(cli: Any, bundle: Path, tmp_path: Path, kind: str, said: str) -> None:
    refused(cli("package", bundle, "--kind", kind, "-o", tmp_path / "o"), USAGE, kind, said)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_of_another_target(cli: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    done = cli("package", tiny_bundle, *SWIFT, "-o", tmp_path / "o")
    refused(done, USAGE, "a bundle for coreml; this one is for cpu", "--target coreml")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_takes_no_picture(cli: Any, bundles: dict[str, Path], tmp_path: Path) -> None:
    done = cli("package", bundles["two"], *SWIFT, "-o", tmp_path / "o")
    refused(done, UNSUPPORTED, "takes an array", "--batch 1")
    assert list(tmp_path.iterdir()) == []


def test_damaged_bundles(cli: Any, bundle: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(bundle, tmp_path / "copy")
    weights = next(copy.rglob("weight.bin"))
    weights.write_bytes(weights.read_bytes()[:-1])
    refused(cli("package", copy, *SWIFT, "-o", tmp_path / "o"), USAGE, "weight.bin")
    refused(cli("package", tmp_path, *SWIFT, "-o", tmp_path / "o"), USAGE, "no bundle at")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


@pytest.mark.parametrize("place", [".", "inside", ".."])
def test_the_bundle_stays_as_it_is(cli: Any, bundle: Path, place: str) -> None:
    before = sorted(bundle.rglob("*"))
    done = cli("package", bundle, *SWIFT, "-o", bundle / place, "--force")
    refused(done, USAGE, "the bundle's own folder")
    assert sorted(bundle.rglob("*")) == before
