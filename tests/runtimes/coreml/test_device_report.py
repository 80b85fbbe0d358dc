"""What a Mac adds to a verification, on a stand-in; and what other machines say instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_coremltools import World, array, expected, install
from saved_packages import save_tensors

from attnc.runtimes.coreml import device_latency
from attnc.runtimes.coreml.device_checks import DeviceCase
from attnc.runtimes.coreml.device_report import device_checks


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tensors(tmp_path_factory.mktemp("tensors"))


def cases(package: Path) -> list[DeviceCase]:
    return [DeviceCase("seed0", array(), expected(package, array()))]


def test_a_mac_predicts_plans_and_times(tensors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mac: World = install(monkeypatch)
    mac.plan = [("const", [], None), ("ios17.conv", ["ne", "cpu"], 0.5), ("add", ["cpu"], 0.1)]
    monkeypatch.setitem(device_latency.FACTORIES, "all", "fake_timed:constant_on_all")
    found = {check.name: check for check in device_checks(tensors, cases(tensors), lambda _: 1e-4)}
    assert found["coreml.parity.seed0"].status == "verified"
    assert found["coreml.plan"].value == 0.5
    assert "1 on cpu, 1 on neural-engine" in found["coreml.plan"].reason
    assert found["coreml.latency"].status == "verified"
    assert found["coreml.latency"].value is not None
    assert "30 calls" in found["coreml.latency"].reason


def test_a_plan_that_is_not_to_be_had_is_no_failure(
    tensors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mac: World = install(monkeypatch)
    mac.plan = []
    monkeypatch.setitem(device_latency.FACTORIES, "all", "fake_timed:refused")
    found = {check.name: check for check in device_checks(tensors, cases(tensors), lambda _: 1e-4)}
    assert found["coreml.latency"].status == "not-verified"
    assert "beads" in found["coreml.latency"].reason


def test_elsewhere_nothing_counts_as_run(tensors: Path) -> None:
    checks = device_checks(tensors, cases(tensors), lambda _: 1e-4)
    assert [check.name for check in checks] == ["coreml.predict", "coreml.plan", "coreml.latency"]
    assert {check.status for check in checks} == {"not-verified"}
    assert all("macOS only" in check.reason for check in checks)
