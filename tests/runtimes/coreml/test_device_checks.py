"""Core ML's predictions as checks, on a stand-in for a Mac."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_coremltools import REFUSAL, World, array, expected, install, picture
from saved_packages import save_classifier, save_tensors

from attnc.runtimes.checks import Check
from attnc.runtimes.coreml.device_checks import DeviceCase, check_on_device

EXACT = 1e-4


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


def limit(logits: Any) -> float:
    return EXACT


def cases(package: Path, given: Any) -> list[DeviceCase]:
    right = DeviceCase("right", given, expected(package, given), photo=True)
    return [right, DeviceCase("seed", given, expected(package, given))]


def test_checks_say_that_nothing_ran() -> None:
    (check,) = check_on_device(Path("nowhere"), [], limit)
    assert (check.name, check.status) == ("coreml.predict", "not-verified")
    assert "macOS only" in check.reason


def of_kind(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.status for check in checks}


def test_right_predictions_are_verified(mac: World, tensors: Path) -> None:
    checks = check_on_device(tensors, cases(tensors, array()), limit, "the limit of a test")
    assert of_kind(checks) == {
        "coreml.parity.right": "verified",
        "coreml.top1.right": "verified",
        "coreml.parity.seed": "verified",
    }
    assert (checks[0].value, checks[0].limit) == (0.0, EXACT)
    assert "macOS 15.0, compute units all; the limit of a test" in checks[0].reason


def test_probabilities_are_checked_in_the_order_of_the_classes(
    mac: World, classifier: Path
) -> None:
    mac.bend = lambda outputs: {
        name: dict(reversed(value.items())) if isinstance(value, dict) else value
        for name, value in outputs.items()
    }
    checks = check_on_device(classifier, cases(classifier, picture()), limit)
    assert set(of_kind(checks).values()) == {"verified"}
    assert checks[0].value == 0.0


def spoilt(change: Any) -> Any:
    return lambda outputs: {name: change(value) for name, value in outputs.items()}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda value: value * 1.01, "the relative error is over the limit"),
        (lambda value: value * np.nan, "NaN or infinite"),
        (lambda value: value[:, :2], "the output has shape [1, 2], not [1, 4]"),
    ],
)
def test_wrong_predictions_fail(mac: World, tensors: Path, change: Any, problem: str) -> None:
    mac.bend = spoilt(change)
    checks = check_on_device(tensors, cases(tensors, array()), limit)
    parity = [check for check in checks if check.name.startswith("coreml.parity.")]
    assert [check.status for check in parity] == ["failed", "failed"]
    assert all(problem in check.reason for check in parity)


def test_another_class_fails(mac: World, tensors: Path) -> None:
    mac.bend = spoilt(lambda value: -value)
    checks = check_on_device(tensors, cases(tensors, array()), limit)
    assert of_kind(checks)["coreml.top1.right"] == "failed"
    near = check_on_device(tensors, cases(tensors, array()), lambda logits: 10.0)
    assert of_kind(near)["coreml.top1.right"] == "not-verified"


def test_a_failing_prediction_is_a_failed_check_and_the_others_run(
    mac: World, tensors: Path
) -> None:
    right = cases(tensors, array())[1]
    checks = check_on_device(tensors, [DeviceCase("odd", array()[0], right.expected), right], limit)
    assert of_kind(checks) == {"coreml.parity.odd": "failed", "coreml.parity.seed": "verified"}
    assert "cannot run toy.mlpackage" in checks[0].reason


@pytest.mark.parametrize(
    ("behaviour", "status", "problem"),
    [
        ({"refusal": REFUSAL}, "failed", "no beads"),
        ({"newest": 6}, "not-verified", "too old"),
    ],
)
def test_a_package_that_does_not_load(
    monkeypatch: pytest.MonkeyPatch, tensors: Path, behaviour: Any, status: str, problem: str
) -> None:
    install(monkeypatch, **behaviour)
    (check,) = check_on_device(tensors, cases(tensors, array()), limit)
    assert (check.name, check.status) == ("coreml.predict", status)
    assert problem in check.reason
