"""The Swift package of a Core ML bundle: complete, parseable, and in agreement with the bundle."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from packaged import NAMES, assert_same_bytes, export_both, files_of, write_both
from PIL import Image

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import Preprocessing
from attnc.runtimes.preprocess import fit, load_picture
from attnc.tools.packaging.kinds import Package, write_package
from attnc.tools.packaging.names import module_name
from attnc.tools.packaging.pictures import reference_pictures
from attnc.tools.packaging.references import best
from attnc.tools.packaging.rendering import swift_text

pytest.importorskip("coremltools")
tree_sitter = pytest.importorskip("tree_sitter")
swift = pytest.importorskip("tree_sitter_swift")

WHOLE = {"named": "TinyNetBuild", "shvit": "ShvitS1"}


@pytest.fixture(scope="module", autouse=True)
def frozen_objects() -> Iterator[None]:
    """Every conversion collects garbage; leaving out what was loaded makes it ten times faster."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles with names of classes and without; not to be changed."""
    return export_both(
        tmp_path_factory, {"target": "coreml", "profile": "iphone15"}, precision="fp32"
    )


@pytest.fixture(scope="module")
def packages(
    bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Package]:
    return write_both(bundles, "swiftpm", tmp_path_factory)


@pytest.fixture(params=WHOLE)
def both(
    request: pytest.FixtureRequest, bundles: dict[str, Path], packages: dict[str, Package]
) -> tuple[Bundle, Package]:
    return Bundle.open(bundles[request.param]), packages[request.param]


def references_of(package: Package) -> Path:
    return package.path / "Tests" / f"{package.name}Tests" / "References"


def document_of(package: Package) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((references_of(package) / "references.json").read_text())
    return loaded


def constants(package: Package) -> dict[str, str]:
    """Constants of Specification.swift, as they are written."""
    text = (package.path / "Sources" / package.name / "Specification.swift").read_text()
    return dict(re.findall(r"static let (\w+) = (.+)", text))


# --- all of it is there --------------------------------------------------------------------------


def test_files(both: tuple[Bundle, Package]) -> None:
    bundle, package = both
    found = files_of(package.path)
    assert set(package.files) == found
    source, tests = f"Sources/{package.name}", f"Tests/{package.name}Tests"
    assert {"Package.swift", "README.md", "Sample/ContentView.swift", "Sample/README.md"} <= found
    assert {f"{source}/Classifier.swift", f"{tests}/ReferenceTests.swift"} <= found
    model = package.path / source / "Resources" / "model.mlpackage"
    for file in (bundle.path / "model.mlpackage").rglob("*"):
        inner = model / file.relative_to(bundle.path / "model.mlpackage")
        assert file.is_dir() or file.read_bytes() == inner.read_bytes()
    labels = package.path / source / "Resources" / "labels.txt"
    assert labels.exists() == (bundle.labels is not None)
    assert not labels.exists() or labels.read_text().splitlines() == NAMES


def test_package_swift_names_what_is_there(both: tuple[Bundle, Package]) -> None:
    _, package = both
    text = (package.path / "Package.swift").read_text()
    assert text.startswith("// swift-tools-version: 5.9\n")
    assert '.iOS("17.0"), .macOS("14.0")' in text
    folders = {"target": "Sources", "testTarget": "Tests"}
    targets = re.findall(r'\.(target|testTarget)\(\s*name: "(\w+)"(.*?)\n        \)', text, re.S)
    assert [name for _, name, _ in targets] == [package.name, f"{package.name}Tests"]
    for kind, name, rest in targets:
        folder = package.path / folders[kind] / name
        assert list(folder.glob("*.swift"))
        resources = re.findall(r'\.copy\("([^"]+)"\)', rest)
        assert resources
        assert all((folder / path).exists() for path in resources)


def test_project_of_the_sample(both: tuple[Bundle, Package]) -> None:
    _, package = both
    sample = package.path / "Sample"
    project = yaml.safe_load((sample / "project.yml").read_text())
    assert project["packages"] == {package.name: {"path": ".."}}
    app, tests = (project["targets"][name] for name in ("Sample", "SampleTests"))
    assert app["info"]["properties"]["NSCameraUsageDescription"]
    for source in (*app["sources"], *tests["sources"]):
        assert (sample / source["path"]).exists()
    assert {"package": package.name} in tests["dependencies"]


def test_sources_parse(both: tuple[Bundle, Package]) -> None:
    _, package = both
    parser = tree_sitter.Parser(tree_sitter.Language(swift.language()))
    sources = sorted(package.path.rglob("*.swift"))
    assert len(sources) > 15
    for path in sources:
        tree = parser.parse(path.read_bytes())
        assert not tree.root_node.has_error, path.name
        assert "{{" not in path.read_text()
        assert "{%" not in path.read_text()
    broken = (package.path / "Package.swift").read_bytes().replace(b"targets: [", b"targets: (", 1)
    assert parser.parse(broken).root_node.has_error


def test_the_sample_speaks_to_everybody(both: tuple[Bundle, Package]) -> None:
    _, package = both
    texts = {path.name: path.read_text() for path in (package.path / "Sample").glob("*.swift")}
    for name in ("ContentView", "Results", "CameraPreview"):
        assert "accessibilityLabel" in texts[f"{name}.swift"]
    assert "PhotosPicker(" in texts["ContentView.swift"]
    assert "AVCaptureSession()" in texts["Camera.swift"]


# --- it says what the bundle says ----------------------------------------------------------------


def test_specification(both: tuple[Bundle, Package]) -> None:
    bundle, package = both
    manifest, said = bundle.manifest, constants(package)
    rule = manifest.preprocessing
    assert rule is not None
    assert said["digest"] == f'"{manifest.digest}"'
    assert said["input"] == f'"{manifest.inputs[0].name}"'
    assert said["output"] == f'"{manifest.outputs[0].name}"'
    assert int(said["classes"]) == manifest.outputs[0].shape[-1]
    assert said["hasLabels"] == ("true" if bundle.labels else "false")
    assert (int(said["height"]), int(said["width"])) == rule.image_size
    assert float(said["cropFraction"]) == rule.crop_fraction
    assert said["interpolation"] == f"Interpolation.{rule.interpolation}"


def test_readme(packages: dict[str, Package]) -> None:
    named, plain = ((packages[name].path / "README.md").read_text() for name in WHOLE)
    assert "no names of classes" in plain
    assert "no names of classes" not in named
    for text in (named, plain):
        assert "run on no phone" in text
        assert "xcodebuild test" in text


def test_twice_the_same_bytes(bundles: dict[str, Path], packages: dict[str, Package]) -> None:
    first = packages["named"]
    second = write_package(bundles["named"], "swiftpm", first.path.parent / "again")
    assert_same_bytes(first.path, second.path)


# --- what its tests compare with -----------------------------------------------------------------


def test_scores_are_the_evaluators(both: tuple[Bundle, Package]) -> None:
    from attnc.runtimes.coreml.evaluator import Evaluator
    from attnc.runtimes.coreml.package import open_package

    bundle, package = both
    rule, said = bundle.manifest.preprocessing, document_of(package)["classified"]
    assert rule is not None
    picture = fit(load_picture(references_of(package) / said["file"]), rule)
    opened = open_package(package.path / "Sources" / package.name / "Resources/model.mlpackage")
    results = Evaluator(opened).run({bundle.manifest.inputs[0].name: picture})
    logits = results[bundle.manifest.outputs[0].name][0].astype(np.float64)
    scores = np.exp(logits) / np.exp(logits).sum()
    assert [row["index"] for row in said["top"]] == np.argsort(-logits, kind="stable")[:5].tolist()
    for row in said["top"]:
        assert row["score"] == pytest.approx(scores[row["index"]], rel=1e-6)


def differences(package: Package, change: Any) -> dict[str, int]:
    """By picture, how far what `change` makes of it is from what the package expects."""
    found = {}
    for expected in document_of(package)["pictures"]:
        if "refused" in expected:
            continue
        pixels = np.asarray(change(load_picture(references_of(package) / expected["file"])))
        values = pixels[np.ix_(expected["rows"], expected["columns"])].reshape(-1).astype(int)
        found[expected["file"]] = int(np.abs(values - expected["values"]).max())
    return found


@pytest.fixture
def rule(bundles: dict[str, Path]) -> Preprocessing:
    found = Bundle.open(bundles["shvit"]).manifest.preprocessing
    assert found is not None
    return found


def test_pixels_are_those_of_our_preprocessing(
    packages: dict[str, Package], rule: Preprocessing
) -> None:
    found = differences(packages["shvit"], lambda picture: fit(picture, rule))
    assert len(found) == 7
    assert set(found.values()) == {0}


@pytest.mark.parametrize(
    "change", [{"interpolation": "bilinear"}, {"interpolation": "nearest"}, {"crop_fraction": 1.0}]
)
def test_another_rule_is_told_from_it(
    packages: dict[str, Package], rule: Preprocessing, change: dict[str, Any]
) -> None:
    other = rule.model_copy(update=change)
    assert other != rule
    found = differences(packages["shvit"], lambda picture: fit(picture, other))
    blind = {"turned.jpg"} if "interpolation" in change else set()
    assert all(value > 1 for file, value in found.items() if file not in blind), found


def test_a_shift_or_a_filter_without_width_is_told(
    packages: dict[str, Package], rule: Preprocessing
) -> None:
    def shifted(picture: Any) -> Any:
        return np.roll(np.asarray(fit(picture, rule)), 1, axis=1)

    def narrow(picture: Any) -> Any:
        """As scalers of systems often do: four neighbours, however far the picture shrinks."""
        size = (picture.width // 2, picture.height // 2)
        return fit(picture.resize(size, Image.Resampling.NEAREST), rule)

    assert min(differences(packages["shvit"], shifted).values()) > 1
    assert differences(packages["shvit"], narrow)["huge.png"] > 1


def test_pictures_of_every_kind(tmp_path: Path, packages: dict[str, Package]) -> None:
    """What is expected to be refused is refused by us, and files are the same on every run."""
    for picture in reference_pictures():
        file = references_of(packages["named"]) / picture.file
        picture.save(tmp_path / picture.file)
        assert (tmp_path / picture.file).read_bytes() == file.read_bytes()
        if picture.refused:
            with pytest.raises(UsageError):
                load_picture(file)
    with Image.open(tmp_path / "turned.jpg") as turned:
        assert turned.getexif()[0x0112] == 6
        assert load_picture(tmp_path / "turned.jpg").size == turned.size[::-1]


def test_bounds_hold_for_logits_that_move() -> None:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal(50).astype(np.float32) * 5
    said = best(logits, 0.02)
    moved = logits + rng.choice([-1, 1], 50) * 0.02 * np.abs(logits).max()
    scores = np.exp(moved) / np.exp(moved).sum()
    distances = [abs(np.log(scores[row["index"]] / row["score"])) for row in said["top"]]
    assert 0.2 * said["log_tolerance"] < max(distances) <= said["log_tolerance"]
    close = np.array([1.0, 1.0001, -9.0], np.float32)
    assert not best(close, 0.02)["first_is_clear"]
    assert best(np.array([1.0, 9.0], np.float32), 0.02)["first_is_clear"]
    assert best(np.array([1.0], np.float32), 0.02)["top"] == [{"index": 0, "score": 1.0}]


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("shvit_s1", "ShvitS1"),
        ("my.package:make", "MyPackageMake"),
        ("vision", "VisionModel"),
        ("3d-net", "Model3dNet"),
        ("_", "Model"),
    ],
)
def test_module_names(model: str, name: str) -> None:
    assert module_name(model) == name


def test_swift_literals() -> None:
    assert swift_text('a "b" \\(c)\n\0') == '"a \\"b\\" \\\\(c)\\n\\u{0}"'
