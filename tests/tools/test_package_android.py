"""The Gradle project of an Android bundle: complete, parseable, in agreement with the bundle."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from packaged import NAMES, assert_same_bytes, export_both, files_of, write_both

import attnc
from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.runtimes.preprocess import load_picture, preprocess
from attnc.tools.packaging.android import _needed
from attnc.tools.packaging.android_cases import SIZES, Case, cases, fitted
from attnc.tools.packaging.kinds import Package, write_package
from attnc.tools.packaging.names import java_package
from attnc.tools.packaging.pictures import waves
from attnc.tools.packaging.rendering import kotlin_text

tree_sitter = pytest.importorskip("tree_sitter")
kotlin = pytest.importorskip("tree_sitter_kotlin")

ANDROID = "{http://schemas.android.com/apk/res/android}"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """With names of classes and without kernels, and the reverse; not to be changed."""
    return export_both(tmp_path_factory, {"target": "android", "profile": "pixel8"})


@pytest.fixture(scope="module")
def packages(
    bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Package]:
    return write_both(bundles, "android", tmp_path_factory)


@pytest.fixture(params=["named", "shvit"])
def both(
    request: pytest.FixtureRequest, bundles: dict[str, Path], packages: dict[str, Package]
) -> tuple[Bundle, Package]:
    return Bundle.open(bundles[request.param]), packages[request.param]


def main_of(package: Package) -> Path:
    return package.path / "library" / "src" / "main"


def specification(package: Package) -> dict[str, str]:
    """Constants of Specification.kt, as they are written."""
    folder = main_of(package) / "kotlin" / package.name.replace(".", "/")
    return dict(re.findall(r"const val (\w+) = (.+)", (folder / "Specification.kt").read_text()))


# --- all of it is there --------------------------------------------------------------------------


def test_files(both: tuple[Bundle, Package]) -> None:
    bundle, package = both
    assert set(package.files) == files_of(package.path)
    said, assets = specification(package), main_of(package) / "assets"
    model = assets / json.loads(said["MODEL_ASSET"])
    assert model.read_bytes() == (bundle.path / "model.ort").read_bytes()
    labels = assets / json.loads(said["LABELS_ASSET"])
    assert labels.exists() == (bundle.labels is not None) == (said["HAS_LABELS"] == "true")
    assert not labels.exists() or labels.read_text().splitlines() == NAMES
    library = main_of(package) / "jniLibs/arm64-v8a" / json.loads(said["KERNELS"])
    kernels = bundle.manifest.kernels
    assert library.exists() == bool(kernels) == (said["HAS_KERNELS"] == "true")
    if kernels:
        assert library.read_bytes() == (bundle.path / kernels[0].path).read_bytes()
        script = (package.path / "library/build.gradle.kts").read_text()
        assert 'abiFilters += "arm64-v8a"' in script


def test_gradle_names_what_is_there(both: tuple[Bundle, Package]) -> None:
    _, package = both
    included = re.search(r"include\((.+)\)", (package.path / "settings.gradle.kts").read_text())
    assert included is not None
    modules = re.findall(r'":(\w+)"', included[1])
    assert modules == ["library", "sample"]
    catalog = tomllib.loads((package.path / "gradle/libs.versions.toml").read_text())
    aliases = {
        *(name.replace("-", ".") for name in catalog["libraries"]),
        *(f"plugins.{name.replace('-', '.')}" for name in catalog["plugins"]),
    }
    used = set()
    for script in ("build.gradle.kts", *(f"{module}/build.gradle.kts" for module in modules)):
        text = (package.path / script).read_text()
        used |= set(re.findall(r"libs\.([\w.]+)", text))
        assert set(re.findall(r'project\(":(\w+)"\)', text)) <= set(modules)
        for file in re.findall(r'consumerProguardFiles\("([^"]+)"\)', text):
            assert ((package.path / script).parent / file).is_file()
    assert used == aliases
    entries = [*catalog["libraries"].values(), *catalog["plugins"].values()]
    referred = {entry["version"]["ref"] for entry in entries if "version" in entry}
    assert referred == set(catalog["versions"])


def test_manifests_name_classes_that_are_there(both: tuple[Bundle, Package]) -> None:
    _, package = both
    ElementTree.parse(main_of(package) / "AndroidManifest.xml")
    root = ElementTree.parse(package.path / "sample/src/main/AndroidManifest.xml").getroot()
    asked = [each.get(f"{ANDROID}name") for each in root.findall("uses-permission")]
    assert asked == ["android.permission.CAMERA"]
    activities = root.findall("application/activity")
    assert len(activities) == 2
    folder = package.path / "sample/src/main/kotlin" / package.name.replace(".", "/") / "sample"
    for activity in activities:
        name = (activity.get(f"{ANDROID}name") or "").removeprefix(".")
        assert f"class {name} : ComponentActivity()" in (folder / f"{name}.kt").read_text()


def test_sources_parse(both: tuple[Bundle, Package]) -> None:
    _, package = both
    parser = tree_sitter.Parser(tree_sitter.Language(kotlin.language()))
    sources = sorted([*package.path.rglob("*.kt"), *package.path.rglob("*.kts")])
    assert len(sources) > 20
    for path in sources:
        text = path.read_text()
        assert not parser.parse(text.encode()).root_node.has_error, path.name
        assert "{{" not in text
        assert "{%" not in text
        assert max(map(len, text.splitlines())) <= 140, path.name
        if path.suffix == ".kt":
            place = path.parent.as_posix().rpartition("/kotlin/")[2].replace("/", ".")
            assert text.startswith(f"package {place}\n"), path
    broken = (package.path / "settings.gradle.kts").read_bytes().replace(b"google()", b"google(", 1)
    assert parser.parse(broken).root_node.has_error


# --- it says what the bundle says ----------------------------------------------------------------


def test_specification(both: tuple[Bundle, Package]) -> None:
    bundle, package = both
    manifest, said = bundle.manifest, specification(package)
    assert said["MODEL"] == kotlin_text(manifest.model)
    assert said["DIGEST"] == f'"{manifest.digest}"'
    assert said["INPUT"] == f'"{manifest.inputs[0].name}"'
    assert said["OUTPUT"] == f'"{manifest.outputs[0].name}"'
    assert int(said["CLASSES"]) == manifest.outputs[0].shape[-1]


def test_scores_are_those_of_the_bundle(both: tuple[Bundle, Package]) -> None:
    bundle, package = both
    folder = package.path / "library/src/androidTest/assets/references"
    said, rule = json.loads((folder / "references.json").read_text()), bundle.manifest.preprocessing
    assert rule is not None
    first = said["classified"]
    array = preprocess(load_picture(folder / first["file"]), rule)
    with attnc.open(bundle.path, kernels=False) as runner:
        results = runner.run({bundle.manifest.inputs[0].name: array})
    logits = results[bundle.manifest.outputs[0].name][0].astype(np.float64)
    scores = np.exp(logits) / np.exp(logits).sum()
    order = np.argsort(-logits, kind="stable")[:5].tolist()
    assert [row["index"] for row in first["top"]] == order
    for row in first["top"]:
        assert row["score"] == pytest.approx(scores[row["index"]], rel=1e-5)


def test_readme(packages: dict[str, Package]) -> None:
    named, plain = ((packages[name].path / "README.md").read_text() for name in packages)
    assert "no names of classes" in plain
    assert "no names of classes" not in named
    for text in (named, plain):
        assert "run on no phone" in text
        assert len(re.findall(r"^gradle :", text, re.M)) == 3


def test_twice_the_same_bytes(bundles: dict[str, Path], packages: dict[str, Package]) -> None:
    first = packages["named"]
    second = write_package(bundles["named"], "android", first.path.parent / "again")
    assert_same_bytes(first.path, second.path)


# --- what is refused -----------------------------------------------------------------------------


def changed(bundle: Path, **fields: Any) -> Bundle:
    opened = Bundle.open(bundle)
    return replace(opened, manifest=opened.manifest.model_copy(update=fields))


def test_bundles_that_are_no_app(bundles: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="takes arrays"):
        _needed(changed(bundles["shvit"], preprocessing=None))
    with pytest.raises(UnsupportedError, match="takes arrays"):
        _needed(changed(bundles["shvit"], batch=4))
    kernels = Bundle.open(bundles["shvit"]).manifest.kernels
    others = tuple(each.model_copy(update={"target": "linux-aarch64"}) for each in kernels)
    with pytest.raises(UnsupportedError, match="for linux-aarch64, not for android"):
        _needed(changed(bundles["shvit"], kernels=others))
    with pytest.raises(UsageError, match="from a bundle for coreml"):
        write_package(bundles["shvit"], "swiftpm", tmp_path / "out")


@pytest.mark.parametrize(
    ("model", "name"),
    [("shvit_s1", "shvits1"), ("object", "objectmodel"), ("3d-net", "model3dnet"), ("_", "model")],
)
def test_java_packages(model: str, name: str) -> None:
    assert java_package(model) == name


def test_kotlin_literals() -> None:
    assert kotlin_text('a "$b" \\\n\0') == '"a \\"\\$b\\" \\\\\\n\\u0000"'


def test_cases_tell_filters_and_orientations_apart() -> None:
    assert len(set(cases())) == len(cases())
    for size in SIZES:
        made = {
            fitted(waves(*size), Case(size, filter=name)).tobytes()
            for name in ("nearest", "bilinear", "bicubic", "lanczos")
        }
        assert len(made) == 4
    turned = {fitted(waves(29, 17), Case((29, 17), orientation=n)).tobytes() for n in range(1, 9)}
    assert len(turned) == 8
