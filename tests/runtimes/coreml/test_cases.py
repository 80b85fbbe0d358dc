"""What a Core ML bundle is judged on: program and source get the same picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnc.compiler.bundle import Bundle
from attnc.compiler.manifest import (
    CoremlEntry,
    Manifest,
    Preprocessing,
    ReferenceCase,
    SourceInfo,
    TensorSpec,
)
from attnc.compiler.seeded_input import normalise, seeded_input, seeded_pixels
from attnc.runtimes.checks import Report
from attnc.runtimes.coreml.cases import (
    LIVE_SEEDS,
    live_cases,
    recorded_cases,
    seeded,
    takes_pictures,
)
from attnc.runtimes.preprocess import fit, load_picture, preprocess

RULE = Preprocessing(
    image_size=(8, 6),
    crop_fraction=0.875,
    interpolation="bicubic",
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.4),
)


def bundle_of(
    folder: Path,
    kind: str = "image",
    rule: Preprocessing | None = RULE,
    batch: int = 1,
    seeds: tuple[int, ...] = (),
) -> Bundle:
    """As far as cases ask: no package, and recorded outputs that hold their seed."""
    shape = (batch, 3, 8, 6)
    recorded = []
    for seed in seeds:
        np.save(folder / f"seed{seed}.npy", np.full((batch, 4), seed, np.float32))
        recorded.append(ReferenceCase(seed=seed, input_shape=shape, path=f"seed{seed}.npy"))
    manifest = Manifest(
        model="toy",
        target="coreml",
        profile="iphone15",
        batch=batch,
        opset=20,
        ir_version=9,
        inputs=(TensorSpec(name="x", dtype="float32", shape=shape),),
        outputs=(),
        preprocessing=rule,
        source=SourceInfo(kind="module", name="toy"),
        passes=(),
        operators={},
        not_lowered=(),
        kernels=(),
        coreml=CoremlEntry(
            package="model.mlpackage",
            ios=17,
            specification_version=8,
            input=kind,
            classifier=False,
            operations={},
            placement={},
            weight_bytes=0,
        ),
        reference=tuple(recorded),
        built_with={},
        files=(),
    )
    return Bundle(folder, manifest)


def means(array: Any) -> Any:
    """Stands for a source."""
    return array.mean(axis=(2, 3))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, shape in (("tall", (40, 20, 3)), ("wide", (20, 50, 3))):
        values = np.random.default_rng(len(name)).integers(0, 256, shape, np.uint8)
        Image.fromarray(values).save(folder / f"{name}.png")
    return folder


def test_a_seeded_picture_is_normalised_for_the_source(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path)
    given, array = seeded(bundle.manifest, (1, 3, 8, 6), 5)
    assert (given.mode, given.size) == ("RGB", (6, 8))
    pixels = np.asarray(given).transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(pixels, seeded_pixels((1, 3, 8, 6), 5))
    np.testing.assert_array_equal(array, normalise(pixels, RULE))
    for channel, (mean, std) in enumerate(zip(RULE.mean, RULE.std, strict=True)):
        expected = (pixels[0, channel] / 255 - mean) / std
        np.testing.assert_allclose(array[0, channel], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "rule"), [("tensor", RULE), ("tensor", None)])
def test_a_seeded_tensor_goes_into_both(tmp_path: Path, kind: str, rule: Any) -> None:
    bundle = bundle_of(tmp_path, kind, rule)
    assert not takes_pictures(bundle.manifest)
    given, array = seeded(bundle.manifest, (2, 3, 8, 6), 5)
    assert given is array
    np.testing.assert_array_equal(array, seeded_input((2, 3, 8, 6), 5))


def test_recorded_cases(tmp_path: Path) -> None:
    cases = list(recorded_cases(bundle_of(tmp_path, seeds=(0, 7))))
    assert [case.name for case in cases] == ["recorded-seed0", "recorded-seed7"]
    assert [case.expected[0, 0] for case in cases] == [0, 7]
    assert not any(case.photo for case in cases)
    pixels = np.asarray(cases[1].given).transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(cases[1].array, normalise(pixels, RULE))


def test_live_cases_of_pictures(tmp_path: Path, photos: Path) -> None:
    report = Report()
    cases = {case.name: case for case in live_cases(bundle_of(tmp_path), means, photos, report)}
    seeds = [f"source-seed{seed}" for seed in LIVE_SEEDS]
    assert list(cases) == [*seeds, "photo-tall", "photo-wide"]
    assert report.checks == []
    for name in ("tall", "wide"):
        case, picture = cases[f"photo-{name}"], load_picture(photos / f"{name}.png")
        assert case.photo
        np.testing.assert_array_equal(np.asarray(case.given), np.asarray(fit(picture, RULE)))
        np.testing.assert_array_equal(case.array, preprocess(picture, RULE))
        np.testing.assert_array_equal(case.expected, means(case.array))


def test_live_cases_of_a_batch(tmp_path: Path, photos: Path) -> None:
    bundle = bundle_of(tmp_path, "tensor", batch=3)
    cases = {case.name: case for case in live_cases(bundle, means, photos, Report())}
    photo = cases["photo-tall"]
    assert photo.given is photo.array
    assert photo.array.shape == (3, 3, 8, 6)
    np.testing.assert_array_equal(photo.array[2], photo.array[0])
    assert cases["source-seed11"].given.shape == (3, 3, 8, 6)


def test_live_cases_of_a_free_batch(tmp_path: Path, photos: Path) -> None:
    bundle = bundle_of(tmp_path, "tensor", batch=2)
    allowed = [(count, 3, 8, 6) for count in (1, 2, 4)]
    cases = live_cases(bundle, means, photos, Report(), allowed)
    found = [(case.given.shape[0], case.expected.shape[0]) for case in cases]
    assert found == [(1, 1), (4, 4), (1, 1), (1, 1)]


@pytest.mark.parametrize("why", ["no rule", "no photographs"])
def test_it_is_said_that_there_are_no_photographs(
    tmp_path: Path, photos: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, rule = Report(), RULE
    if why == "no rule":
        rule = None
    else:
        monkeypatch.setattr("attnc.runtimes.coreml.cases.find_photos", lambda folder: [])
    bundle = bundle_of(tmp_path, "tensor", rule)
    cases = list(live_cases(bundle, means, photos, report))
    assert len(cases) == len(LIVE_SEEDS)
    (check,) = report.checks
    assert (check.name, check.status) == ("photographs", "not-verified")
    assert ("preprocessing rule" if rule is None else "scikit-learn") in check.reason
