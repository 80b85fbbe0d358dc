"""Compute units timed in turn: real child processes, in which nothing is computed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import fake_timed
import numpy as np
import pytest
from fake_coremltools import World, array, expected, install
from PIL import Image
from saved_packages import save_classifier, save_tensors

from attnc.compiler.errors import ParityError, UnsupportedError
from attnc.runtimes.coreml import device_latency
from attnc.runtimes.coreml.device import UNITS
from attnc.runtimes.coreml.device_latency import measure_units, seeded_values
from attnc.runtimes.coreml.features import Feature
from attnc.runtimes.coreml.package import open_package
from attnc.runtimes.measure import Effort
from attnc.runtimes.request import Files

QUICK = Effort(sittings=2, rounds=2, burst=3, lead_in=1, warmup=1)


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tensors(tmp_path_factory.mktemp("tensors"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> World:
    """A Mac that does everything right."""
    return install(monkeypatch)


def factories(patch: pytest.MonkeyPatch, **named: str) -> None:
    for units, name in named.items():
        key = units.replace("_", "-")
        assert callable(getattr(fake_timed, name))
        assert key in UNITS
        patch.setitem(device_latency.FACTORIES, key, f"fake_timed:{name}")


def test_units_are_timed_in_turn(
    mac: World, tensors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories(monkeypatch, all="constant_on_all", cpu="constant_on_cpu", cpu_and_ne="refused")
    report = measure_units(tensors, ("all", "cpu-and-ne", "cpu"), QUICK)
    assert [row["runner"] for row in report["results"]] == ["all", "cpu"]
    first, second = report["results"]
    assert (first["n"], second["n"], first["batch"]) == (12, 12, 1)
    low, high = first["ratio_interval"]["cpu"]
    assert 0 < low <= first["ratio_to"]["cpu"] <= high
    assert second["ratio_to"] == {}
    (miss,) = report["left_out"]
    assert (miss["runner"], miss["reason"]) == ("cpu-and-ne", "no beads for this abacus")
    assert report["device"]["macos"] == "15.0"
    assert report["device"]["coremltools"]
    assert report["method"]["input"] == [1, 3, 8, 6]


def test_units_that_do_not_agree_are_not_timed(
    mac: World, tensors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories(monkeypatch, all="constant_on_all", cpu="wrong_on_cpu")
    with pytest.raises(ParityError, match="units all and cpu do not compute the same"):
        measure_units(tensors, ("all", "cpu"), QUICK)


def test_if_all_units_are_refused_the_refusal_is_raised(
    mac: World, tensors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories(monkeypatch, cpu="refused")
    with pytest.raises(UnsupportedError, match="no beads"):
        measure_units(tensors, ("cpu",), QUICK)


def test_the_factories_are_for_their_units() -> None:
    assert set(device_latency.FACTORIES) == set(UNITS)
    for units, factory in device_latency.FACTORIES.items():
        module, _, name = factory.partition(":")
        runner = getattr(import_module(module), name)(Files("bundle", ""), None)
        assert isinstance(runner, device_latency.TimedRunner)
        assert runner._units == units


def test_a_timed_classifier_sees_one_picture_and_gives_probabilities(
    mac: World, classifier: Path
) -> None:
    with device_latency.TimedRunner(classifier, "all") as runner:
        output = runner.infer({"x": array()})["numbers"]
    feature = open_package(classifier).inputs[0]
    rgb = seeded_values(feature)[0, ::-1].transpose(1, 2, 0)
    wanted = expected(classifier, Image.fromarray(np.ascontiguousarray(rgb)))
    assert output.tolist() == wanted.tolist()


def test_seeded_values_are_of_the_features_type() -> None:
    half = seeded_values(Feature("x", "tensor", (1, 4), "fp16"))
    assert half.dtype == np.float16
