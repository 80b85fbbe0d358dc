"""Saved packages: the same bytes on every export, metadata, pictures and labels."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

pytest.importorskip("coremltools")

from coreml_graphs import WINDOW, Graph, close, copy_of, cosine
from rewriting import compute

from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import Preprocessing
from attnc.runtimes.coreml.evaluator import Evaluator
from attnc.runtimes.coreml.package import open_package
from attnc.runtimes.coreml.ranges import record_ranges
from attnc.targets.coreml.emit import ORIGINS, Emission, Wish, check_precision, device_of, emit
from attnc.targets.coreml.package import PACKAGE, edit
from attnc.targets.profile import Profile, load_profile

LABELS = ("cat", "dog", "fox", "owl")
RULE = Preprocessing(
    image_size=(8, 6),
    interpolation="bilinear",
    crop_fraction=1.0,
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.4),
)
PIXELS = np.random.default_rng(3).integers(0, 256, (8, 6, 3)).astype(np.uint8)


def network() -> ir.Model:
    """A classifier of four classes, its weights large enough for the weight file."""
    graph = Graph()
    x = graph.fused_conv(graph.input(1, 3, 8, 6, name="pixels"), 32, **WINDOW)
    x = graph.fused_conv(x, 32, **WINDOW)
    weight = graph.random(4, 32)
    model = graph.model(graph.fused("PoolLinear", x, weight, graph.random(4)))
    model.graph.outputs[0].name = "logits"
    return model


def emitted(folder: Path, name: str = "iphone15", **wish: object) -> Emission:
    folder.mkdir(parents=True, exist_ok=True)
    size = (1, 3, 8, 6)
    inputs = [np.random.default_rng(1).standard_normal(size)]
    if "picture" in wish:
        inputs = [PIXELS.transpose(2, 0, 1)[None]]
    return emit(
        network(),
        load_profile("coreml", name),
        folder,
        Wish(**wish),  # type: ignore[arg-type]
        lambda package: record_ranges(package, inputs),
    )


def contents(folder: Path) -> Mapping[str, bytes]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_same_bytes_twice(precision: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        emitted(tmp_path / name, precision=precision, picture=RULE, labels=LABELS)
    first, second = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert first == second
    assert len(first) == 4  # manifest, model, weights, origins


def test_files_can_be_read_by_all(tmp_path: Path) -> None:
    emitted(tmp_path)
    for path in (tmp_path / PACKAGE).rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_manifest_names_its_items(tmp_path: Path) -> None:
    emitted(tmp_path)
    manifest = json.loads((tmp_path / PACKAGE / "Manifest.json").read_text("utf-8"))
    items = manifest["itemInfoEntries"]
    assert items[manifest["rootModelIdentifier"]]["path"] == "com.apple.CoreML/model.mlmodel"
    assert len(items) == 2
    for item in items.values():
        assert (tmp_path / PACKAGE / "Data" / item["path"]).exists()


@pytest.mark.parametrize(
    ("profile", "version"), [("iphone12", 7), ("iphone15", 8), ("iphone16", 9)]
)
def test_specification_version_is_that_of_the_ios(
    profile: str, version: int, tmp_path: Path
) -> None:
    assert emitted(tmp_path, profile).specification_version == version
    assert open_package(tmp_path / PACKAGE).specification_version == version


def test_a_tensor_goes_in_and_logits_come_out(tmp_path: Path) -> None:
    emission = emitted(tmp_path, precision="fp32")
    package = open_package(tmp_path / PACKAGE)
    assert [(port.name, port.kind, port.shape) for port in package.inputs] == [
        ("pixels", "tensor", (1, 3, 8, 6))
    ]
    assert [(port.name, port.shape) for port in package.outputs] == [("logits", (1, 4))]
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 6)).astype(np.float32)
    found = Evaluator(package).run({"pixels": x})
    close(found["logits"], compute(network(), {"pixels": x})[0])
    assert emission.operations == {"conv": 2, "linear": 1, "reduce_mean": 1}
    assert emission.float32_regions == ()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_picture_goes_in_and_a_label_comes_out(precision: str, tmp_path: Path) -> None:
    emitted(tmp_path, precision=precision, picture=RULE, labels=LABELS)
    package = open_package(tmp_path / PACKAGE)
    (port,) = package.inputs
    assert (port.name, port.kind, port.colour) == ("pixels", "image", "RGB")
    found = Evaluator(package).run({"pixels": Image.fromarray(PIXELS)})
    mean, std = np.array(RULE.mean), np.array(RULE.std)
    x = ((PIXELS / 255 - mean) / std).transpose(2, 0, 1)[None].astype(np.float32)
    (logits,) = compute(network(), {"pixels": x})
    assert cosine(found["logits"], logits) > 0.9999
    shares = np.exp(logits[0] - logits[0].max())
    shares /= shares.sum()
    names = {port.kind: port.name for port in package.outputs}
    assert set(names) == {"tensor", "label", "dictionary"}
    assert list(found[names["dictionary"]]) == list(LABELS)
    np.testing.assert_allclose(list(found[names["dictionary"]].values()), shares, atol=2e-3)
    assert found["classLabel"] == LABELS[int(logits.argmax())]


def test_metadata_are_set_and_set_again(tmp_path: Path) -> None:
    emitted(tmp_path)
    path = tmp_path / PACKAGE
    given = {
        "author": "A. Nobody",
        "license": "Apache-2.0",
        "version": "3.1",
        "description": "four animals",
        "attnc.model": "toy",
    }
    edit(path, given)
    edit(path, {"attnc.model": "other"})
    found = open_package(path).metadata
    assert found["author"] == "A. Nobody"
    assert found["license"] == "Apache-2.0"
    assert found["versionString"] == "3.1"
    assert found["shortDescription"] == "four animals"
    assert found["attnc.model"] == "other"
    assert not [key for key in found if "date" in key or "time" in key]


def test_editing_leaves_the_program_alone(tmp_path: Path) -> None:
    emitted(tmp_path, precision="fp32")
    before = contents(tmp_path)
    edit(tmp_path / PACKAGE, {"author": "A. Nobody"})
    after = contents(tmp_path)
    assert [name for name in before if before[name] != after[name]] == [
        f"{PACKAGE}/Data/com.apple.CoreML/model.mlmodel"
    ]
    found = open_package(tmp_path / PACKAGE)
    assert len(list(found.program.functions["main"].block.walk())) > 4


def test_origins_name_every_operation(tmp_path: Path) -> None:
    emitted(tmp_path, labels=LABELS)
    origins = json.loads((tmp_path / ORIGINS).read_text("utf-8"))
    package = open_package(tmp_path / PACKAGE)
    names = {o.name for o in package.program.functions["main"].block.walk() if o.type == "conv"}
    assert names <= set(origins)
    assert {origins[name]["module"] for name in names} == {"stem.block"}


def test_a_number_beyond_float16_is_told(tmp_path: Path) -> None:
    graph = Graph()
    large = graph.op("Mul", graph.input(1, 6), np.float32(1e5))
    model = graph.model(graph.op("Mul", large, np.float32(1e-5)))
    inputs = [np.ones((1, 6), np.float32)]
    emission = emit(
        copy_of(model),
        load_profile("coreml", "iphone15"),
        tmp_path,
        Wish(),
        lambda package: record_ranges(package, inputs),
    )
    assert [place.module for place in emission.float32_regions] == ["stem.block"] * 2
    assert "values reach 1e+05" in emission.float32_regions[0].reason
    assert emission.operations == {"cast": 1, "mul": 2}


def test_unknown_precision() -> None:
    with pytest.raises(UsageError, match="no precision 'int4'") as caught:
        check_precision("int4", 17)
    assert "pal4w" in caught.value.remedy


def test_a_profile_of_another_target() -> None:
    profile = Profile(name="here", target="cpu", description="no Core ML")
    with pytest.raises(UsageError, match=r"no \[coreml\] table"):
        device_of(profile)
