"""The README of a Core ML bundle: what it says is what the manifest says."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from attnc.compiler.bundle_readme import bundle_readme
from attnc.compiler.coreml_readme import MACOS
from attnc.compiler.manifest import CoremlEntry, Manifest, Place, Preprocessing, TensorSpec
from attnc.compiler.manifest import SourceInfo as Info
from attnc.targets.profile import CoremlDevice

RULE = Preprocessing(
    image_size=(64, 96),
    crop_fraction=0.875,
    interpolation="bicubic",
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.25, 0.3),
)


def readme(rule: Preprocessing | None = RULE, places: int = 0, **entry: Any) -> str:
    known: dict[str, Any] = {
        "package": "model.mlpackage",
        "ios": 17,
        "specification_version": 8,
        "input": "image",
        "classifier": False,
        "operations": {"conv": 30, "matmul": 12},
        "placement": {"linear-layer": 3},
        "weight_bytes": 12_340_000,
    }
    manifest = Manifest(
        model="toy",
        target="coreml",
        profile="iphone15",
        precision="fp16",
        batch=1,
        opset=20,
        ir_version=9,
        inputs=(TensorSpec(name="picture_in", dtype="float32", shape=(1, 3, 64, 96)),),
        outputs=(TensorSpec(name="scores", dtype="float32", shape=(1, 10)),),
        preprocessing=rule,
        source=Info(kind="factory", name="toy"),
        passes=(),
        operators={},
        not_lowered=(),
        kernels=(),
        float32_regions=(Place(node="n", module="m", source="s", reason="r"),) * places,
        coreml=CoremlEntry(**{**known, **entry}),
        reference=(),
        built_with={"attnc": "0.1.0"},
        files=(),
    )
    return bundle_readme(manifest)


def swift(text: str) -> str:
    (block,) = re.findall(r"```swift\n(.*?)```", text, re.DOTALL)
    return str(block)


def test_what_goes_in_and_comes_out() -> None:
    text = readme(places=2)
    for part in (
        "# toy for Core ML",
        "iOS 17 or macOS 14",
        "fp16, made by attnc 0.1.0",
        "`picture_in`, an RGB picture of 96 x 64 pixels",
        "output: `scores`",
        "42 operations, 12.3 MB",
        "in float32: 2",
        "linear-layer: 3",
    ):
        assert part in text


def test_swift_names_the_real_inputs_and_outputs() -> None:
    code = swift(readme())
    assert '"picture_in": MLFeatureValue(pixelBuffer: picture)' in code
    assert 'let logits = result.featureValue(for: "scores")!.multiArrayValue!' in code
    assert "classLabel" not in code
    assert code.count("(") == code.count(")")
    for name in ("configuration", "compiled", "model", "input", "result"):
        assert len(re.findall(rf"\b{name}\b", code)) >= 2, f"{name} is made and used"


def test_a_classifier_has_a_label() -> None:
    text = readme(classifier=True)
    assert "`classLabel`, `classLabel_probs` and `scores`" in text
    code = swift(text)
    assert 'result.featureValue(for: "classLabel")!.stringValue' in code
    assert 'result.featureValue(for: "scores")' in code


def test_colours_are_normalised_inside_or_by_the_caller() -> None:
    text = readme()
    assert "divided by 0.875" in text
    assert "normalised inside" in text
    assert "value / 255" not in text
    text = readme(input="tensor")
    assert "`(value / 255 - mean) / std` with mean [0.5, 0.4, 0.3]" in text
    assert "normalised inside" not in text
    assert '"picture_in": MLFeatureValue(multiArray: array)' in swift(text)


def test_without_a_rule_nothing_is_said_of_pictures() -> None:
    text = readme(rule=None, input="tensor")
    assert "Pictures" not in text
    assert "`picture_in`, float32 [1, 3, 64, 96]" in text


@pytest.mark.parametrize("ios", get_args(CoremlDevice.model_fields["ios"].annotation))
def test_every_ios_has_its_macos(ios: int) -> None:
    assert f"iOS {ios} or macOS {MACOS[ios]} and later" in readme(ios=ios)


def test_nothing_known_of_placement() -> None:
    assert "(nothing)" in readme(placement={})
