"""Accuracy of bundle and source: the figures, their doubt, and what cannot be measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import MissingRuntimeError, UsageError
from attnc.compiler.manifest import Manifest
from attnc.runtimes import accuracy_run
from attnc.runtimes.accuracy import (
    Accuracy,
    Share,
    answers,
    compared,
    drop_interval,
    wilson_interval,
)
from attnc.runtimes.accuracy_run import Engine, in_parts, measure_accuracy
from attnc.runtimes.dataset import Dataset, Sample
from attnc.runtimes.limits import TABLE, table_limits


def outcomes(both: int, lost: int, won: int, neither: int) -> tuple[Any, Any]:
    """Right and wrong, before and after, of so many pairs."""
    before = np.repeat([True, True, False, False], [both, lost, won, neither])
    after = np.repeat([True, False, True, False], [both, lost, won, neither])
    return before, after


def test_the_interval_is_newcombes() -> None:
    """His own example: 36, 12, 2, 0 of 50 pairs gives 0.0569 to 0.3404."""
    assert drop_interval(*outcomes(36, 12, 2, 0)) == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_wilson_by_hand() -> None:
    """81 of 263: 0.2553 to 0.3662, in his paper on single shares."""
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_no_difference_still_has_its_doubt() -> None:
    low, high = drop_interval(*outcomes(440, 0, 0, 10))
    assert -0.02 < low < 0 < high < 0.02
    assert low == pytest.approx(-high)


@pytest.mark.parametrize("right", [0, 30])
def test_all_right_or_all_wrong(right: int) -> None:
    low, high = drop_interval(*outcomes(right, 0, 0, 30 - right))
    assert low <= 0 <= high
    assert np.isfinite([low, high]).all()


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        pairs = rng.multinomial(450, [0.95, 0.02, 0.01, 0.02])
        low, high = drop_interval(*outcomes(*pairs))
        covered += low <= 0.01 <= high
    assert covered / 400 > 0.92


def test_first_and_first_five() -> None:
    logits = np.array([[1, 5, 2, 0, 3, 4], [9, 8, 7, 6, 5, 4], [0, 0, 0, 0, 0, 0.0]])
    found = answers([logits[:2], logits[2:]], np.array([4, 5, 0]))
    assert found.first.tolist() == [1, 0, 0]
    assert found.top1.tolist() == [False, False, True]
    assert found.top5.tolist() == [True, False, True]


def test_what_is_not_finite_is_never_right() -> None:
    found = answers([np.array([[np.nan, 1.0], [np.inf, 0.0]])], np.array([1, 0]))
    assert found.first.tolist() == [-1, -1]
    assert not found.top1.any()
    assert not found.top5.any()


def figures(lost: int, precision: str = "fp32") -> Accuracy:
    before, after = outcomes(440 - lost, lost, 0, 10)
    labels = np.zeros(450, np.int64)
    made = [np.eye(2)[np.where(right, 0, 1)] for right in (after, before)]
    ours, theirs = (answers([logits], labels) for logits in made)
    limit = table_limits("coreml", precision).drop
    return compared("digits", "kernels", precision, ours, theirs, limit=limit)


def test_noise_passes_and_a_real_drop_does_not() -> None:
    few, many = figures(3), figures(12)
    assert few.check().status == "verified"
    assert few.check().value == pytest.approx(3 / 450)
    assert few.agreement == pytest.approx(447 / 450)
    assert many.check().status == "failed"
    assert "450 pictures" in many.check().reason


def test_small_weights_may_cost_more() -> None:
    assert figures(20, "pal4w").check().status == "verified"
    assert figures(20, "fp16").check().status == "failed"


def test_every_precision_of_the_manifest_has_a_limit() -> None:
    allowed = Manifest.model_fields["precision"].annotation.__args__  # type: ignore[union-attr]
    assert set(allowed) == {precision for _, precision in TABLE}


def test_without_a_source_nothing_is_verified() -> None:
    alone = Accuracy("digits", 4, "kernels", "fp32", Share(0.75, 1.0), note="no source: gone")
    assert alone.check().status == "not-verified"
    document = json.loads(json.dumps(alone.as_json()))
    assert document["bundle"] == {"top1": 0.75, "top5": 1.0}
    assert document["source"] is document["interval"] is None
    assert document["note"] == "no source: gone"


def test_parts_are_filled_and_cut_again() -> None:
    seen = []

    def run(array: Any) -> Any:
        seen.append(array[:, 0].tolist())
        return array * 2

    rows = np.arange(5, dtype=np.float32)[:, None]
    assert (in_parts(run, rows, 2) == rows * 2).all()
    assert seen == [[0, 1], [2, 3], [4, 4]]
    assert (in_parts(run, rows, None) == rows * 2).all()


@pytest.fixture
def greys() -> Dataset:
    """Six pictures of three classes."""
    shades = [Image.new("RGB", (64, 64), (40 * index,) * 3) for index in range(6)]
    samples = [
        Sample(f"{index}", index % 3, lambda picture=picture: picture)
        for index, picture in enumerate(shades)
    ]
    return Dataset("greys", ("a", "b", "c"), tuple(samples))


@pytest.mark.usefixtures("importable_data")
def test_a_bundle_agrees_with_its_source(shvit_bundle: Path, greys: Dataset) -> None:
    from attnc.compiler.cli.api import rebuild_reference

    bundle = Bundle.open(shvit_bundle)
    found = measure_accuracy(bundle, lambda: rebuild_reference(bundle), greys)
    assert (found.mode, found.pictures, found.agreement, found.drop) == ("kernels", 6, 1.0, 0.0)
    assert "taken for classes 0 to 2" in found.note
    assert found.check().status == "verified"


def test_more_classes_than_outputs(shvit_bundle: Path, greys: Dataset) -> None:
    many = Dataset("many", tuple(f"c{index:04d}" for index in range(1001)), greys.samples)
    with pytest.raises(UsageError, match="1001 classes, the bundle's model 1000"):
        measure_accuracy(Bundle.open(shvit_bundle), lambda: None, many)


def test_the_source_may_be_gone(shvit_bundle: Path, greys: Dataset) -> None:
    def gone() -> Any:
        raise UsageError("moved away")

    found = measure_accuracy(Bundle.open(shvit_bundle), gone, greys)
    assert found.source is None
    assert "no source: moved away" in found.note


def wrong_engine(bundle: Bundle) -> Iterator[Engine]:
    yield Engine("kernels", lambda array: np.eye(1000)[[999] * len(array)], None)


def test_a_bundle_that_is_wrong_fails(
    cli: Any, shvit_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is right on every picture, since the folders are named by what it says."""
    from contextlib import contextmanager

    from attnc.compiler.cli import api, verify

    for index in range(8):
        (tmp_path / f"{index}").mkdir()
        Image.new("RGB", (64, 64), (30 * index,) * 3).save(tmp_path / f"{index}" / "a.png")
    monkeypatch.setattr(verify, "_report", lambda *given: report_of_nothing())
    monkeypatch.setattr(api, "rebuild_reference", lambda bundle: in_order())
    monkeypatch.setattr(accuracy_run, "bundle_engine", contextmanager(wrong_engine))
    done = cli("verify", shvit_bundle, "--dataset", tmp_path, "--json", "-")
    assert done.code == 1
    document = json.loads(done.out)
    assert document["accuracy"]["source"]["top1"] == 1.0
    assert document["accuracy"]["bundle"]["top1"] == 0.0
    assert document["checks"][-1]["status"] == "failed"


def report_of_nothing() -> Any:
    from attnc.runtimes.checks import Report

    return Report()


def in_order() -> Any:
    """Says 0, 1, 2, ... of the pictures that come."""
    return lambda array: np.eye(1000)[: len(array)]


def test_options_are_checked_before_anything_runs(cli: Any, shvit_bundle: Path) -> None:
    alone = cli("verify", shvit_bundle, "--limit", "3")
    assert (alone.code, "--dataset" in alone.err) == (2, True)
    gone = cli("verify", shvit_bundle, "--dataset", "no-such-folder")
    assert (gone.code, "no folder of pictures" in gone.err) == (2, True)
    assert "rebuilding" not in gone.err


def test_a_missing_runtime_is_told_not_passed(
    shvit_bundle: Path, greys: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attnc.compiler.cli import accuracy
    from attnc.compiler.progress import SILENT

    def missing(*given: Any) -> Any:
        raise MissingRuntimeError("wasmtime is not installed")

    monkeypatch.setattr(accuracy_run, "measure_accuracy", missing)
    report = report_of_nothing()
    assert accuracy.add_accuracy(Bundle.open(shvit_bundle), greys, report, SILENT) is None
    assert [(c.status, c.reason) for c in report.checks] == [
        ("not-verified", "wasmtime is not installed")
    ]
