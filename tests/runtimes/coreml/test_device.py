"""Core ML on a Mac, judged with a stand-in for coremltools' compiled module: the runner."""

from __future__ import annotations

import inspect
import platform
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_coremltools import REFUSAL, World, array, expected, install, picture
from PIL import Image
from saved_packages import save_classifier, save_enumerated, save_tensors

from attnc.compiler.errors import MissingRuntimeError, UnsupportedError, UsageError
from attnc.runtimes.coreml import device
from attnc.runtimes.coreml.device import UNITS, CoremlRunner, available, load_model
from attnc.runtimes.coreml.device_latency import measure_units
from attnc.runtimes.coreml.device_plan import placement
from attnc.runtimes.coreml.device_values import as_picture
from attnc.runtimes.coreml.evaluator import Evaluator
from attnc.runtimes.coreml.features import Feature
from attnc.runtimes.coreml.images import MODES, picture_values
from attnc.runtimes.coreml.package import open_package


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


def test_elsewhere_it_is_named_why() -> None:
    assert platform.system() != "Darwin", "these tests know no Mac"
    assert available() == f"Core ML predicts on macOS only; this is {platform.system()}"


def test_a_mac_needs_coremltools_and_its_binding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = ModuleSpec("coremltools", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    assert "coremltools, which is not installed" in str(available())
    monkeypatch.setattr(device, "find_spec", lambda name: spec)
    assert "cannot reach Core ML from Python" in str(available())
    (tmp_path / "libcoremlpython.so").touch()
    assert available() is None


def test_the_binding_is_the_one_that_coremltools_loads() -> None:
    source = inspect.getsource(import_module("coremltools.models.model"))
    assert f"from ..{device.BINDING} import _MLModelProxy" in source
    assert device.PREAMBLE in source


@pytest.mark.parametrize(
    "call", [measure_units, placement, lambda path: CoremlRunner(path).activate()]
)
def test_nothing_runs_without_core_ml(call: Any, tensors: Path) -> None:
    with pytest.raises(MissingRuntimeError, match="predicts on macOS only"):
        call(tensors)


def test_a_runner_predicts_from_arrays(mac: World, tensors: Path) -> None:
    with CoremlRunner(tensors) as runner:
        (given,), (gives,) = runner.inputs, runner.outputs
        assert (given.name, given.dtype, given.shape) == ("x", "float32", (1, 3, 8, 6))
        assert (gives.name, gives.dtype, gives.shape) == ("chances", "float32", (1, 4))
        outputs = runner.run({"x": array()})
    assert list(outputs) == ["chances"]
    assert np.array_equal(outputs["chances"], expected(tensors, array()))
    assert mac.calls == [("load", "toy.mlpackage", "ALL"), ("predict", {"x": np.ndarray})]


@pytest.mark.parametrize(("units", "name"), UNITS.items())
def test_every_choice_of_units_is_passed_on(
    mac: World, tensors: Path, units: str, name: str
) -> None:
    with CoremlRunner(tensors, units):
        assert mac.calls == [("load", "toy.mlpackage", name)]


def test_unknown_units_are_refused(mac: World, tensors: Path) -> None:
    with pytest.raises(UsageError, match="unknown compute units 'ane'"):
        CoremlRunner(tensors, "ane").activate()


def test_a_classifier_takes_pictures_and_gives_its_label(mac: World, classifier: Path) -> None:
    with CoremlRunner(classifier) as runner:
        outputs = runner.run({"x": picture()})
    wanted = Evaluator(open_package(classifier)).run({"x": picture()})
    assert outputs == wanted
    assert set(map(type, outputs.values())) == {str, dict}
    assert mac.calls[-1] == ("predict", {"x": Image.Image})


def test_an_array_for_a_picture_is_that_picture(mac: World, classifier: Path) -> None:
    blue_green_red = np.asarray(picture())[..., ::-1].transpose(2, 0, 1)[None]
    with CoremlRunner(classifier) as runner:
        assert runner.infer({"x": blue_green_red}) == runner.infer({"x": picture()})
    assert mac.calls[-1] == ("predict", {"x": Image.Image})


@pytest.mark.parametrize(
    ("colour", "channels"), [("RGB", 3), ("BGR", 3), ("GRAYSCALE", 1), ("GRAYSCALE_FLOAT16", 1)]
)
def test_arrays_and_pictures_stand_for_each_other(colour: str, channels: int) -> None:
    feature = Feature("x", "image", (1, channels, 8, 6), "fp32", colour)
    given = picture().convert(MODES[colour])
    found = as_picture(picture_values(given, feature), feature)
    assert found.mode == given.mode
    assert np.array_equal(np.asarray(found), np.asarray(given))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (array(), "values that a picture cannot have"),
        (np.full((1, 3, 8, 6), 256.0), "values that a picture cannot have"),
        (np.full((1, 3, 8, 6), np.nan), "values that a picture cannot have"),
        (np.zeros((1, 1, 8, 6)), "has shape"),
        (np.zeros((3, 8, 6)), "has shape"),
    ],
)
def test_arrays_that_are_no_picture(
    mac: World, classifier: Path, values: Any, problem: str
) -> None:
    with (
        CoremlRunner(classifier) as runner,
        pytest.raises(UsageError, match=problem) as caught,
    ):
        runner.infer({"x": values})
    assert caught.value.where == "input 'x'"
    assert not [call for call in mac.calls if call[0] == "predict"]


@pytest.mark.parametrize(
    ("feed", "problem"),
    [
        ({}, "input 'x' is missing"),
        ({"x": array(), "y": array()}, "no input 'y'"),
        ({"x": array()[0]}, "has shape"),
        ({"x": array().astype(np.float64)}, "has type float64"),
        ({"x": picture()}, "not a NumPy array"),
    ],
)
def test_run_checks_its_feed(mac: World, tensors: Path, feed: Any, problem: str) -> None:
    with CoremlRunner(tensors) as runner, pytest.raises(UsageError, match=problem):
        runner.run(feed)


def test_run_checks_the_size_of_pictures(mac: World, classifier: Path) -> None:
    with CoremlRunner(classifier) as runner, pytest.raises(UsageError, match="not 6x8"):
        runner.run({"x": picture().resize((8, 8))})


def test_sizes_that_differ_are_free(mac: World, tmp_path: Path) -> None:
    with CoremlRunner(save_enumerated(tmp_path)) as runner:
        assert runner.inputs[0].shape == (1, 3, "any", "any")


def test_a_refused_package_is_an_error_in_core_mls_words(mac: World, tensors: Path) -> None:
    mac.refusal = REFUSAL
    with pytest.raises(UnsupportedError, match="no beads for this abacus") as caught:
        CoremlRunner(tensors, "cpu-and-ne").activate()
    assert "toy.mlpackage on compute units cpu-and-ne: { NSLocalized" in caught.value.message
    assert "underlying" not in caught.value.message.lower()
    assert (caught.value.where, "cpu-and-gpu" in caught.value.remedy) == (str(tensors), True)


def test_a_mac_that_is_too_old_is_said_to_be(mac: World, tensors: Path) -> None:
    mac.newest = 6
    with pytest.raises(MissingRuntimeError, match="specification version 7") as caught:
        CoremlRunner(tensors).activate()
    assert "use macOS 13 or newer" in caught.value.remedy


def test_a_model_that_coremltools_leaves_unloaded_is_noticed(tensors: Path) -> None:
    with pytest.raises(MissingRuntimeError, match="cannot reach Core ML: No module named"):
        load_model(tensors, "cpu", 7)


def test_a_failing_prediction_names_the_package(mac: World, tensors: Path) -> None:
    mac.failure = "x" * 1000
    with CoremlRunner(tensors) as runner, pytest.raises(UnsupportedError) as caught:
        runner.infer({"x": array()})
    assert "cannot run toy.mlpackage on compute units all: xxx" in caught.value.message
    assert len(caught.value.message) < 500
    assert caught.value.where == str(tensors)
