"""Verification finds what is wrong, and says what it could not look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnc.compiler.bundle import Bundle
from attnc.compiler.cli.api import export, rebuild_reference
from attnc.compiler.errors import UsageError
from attnc.runtimes import verify as verify_module
from attnc.runtimes.attnc_runner import AttncRunner
from attnc.runtimes.verify import verify

pytestmark = pytest.mark.usefixtures("importable_data")


def statuses(report: Any) -> dict[str, str]:
    return {check.name: check.status for check in report.checks}


def no_source() -> Any:
    raise UsageError("gone")


def test_recorded_outputs_suffice_where_the_source_is_gone(tiny_bundle: Path) -> None:
    report = verify(Bundle.open(tiny_bundle), no_source)
    found = statuses(report)
    assert found["source"] == found["photographs"] == "not-verified"
    assert found["parity/recorded-seed0/kernels"] == "verified"
    assert found["parity/recorded-seed1/bodies"] == "verified"
    assert report.ok


def test_a_wrong_kernel_fails_and_the_bodies_do_not(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    infer = AttncRunner.infer

    def wrong(self: AttncRunner, feed: Any) -> Any:
        found = infer(self, feed)
        return {name: value + 1e-2 * self.kernels for name, value in found.items()}

    monkeypatch.setattr(AttncRunner, "infer", wrong)
    report = verify(Bundle.open(tiny_bundle), no_source)
    found = statuses(report)
    assert found["parity/recorded-seed0/kernels"] == "failed"
    assert found["parity/recorded-seed0/bodies"] == "verified"
    assert not report.ok


def test_another_source_fails(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    reference = rebuild_reference(bundle)
    report = verify(bundle, lambda: lambda array: np.asarray(reference(array)) + 1)
    found = statuses(report)
    assert found["parity/source-seed11-batch2/kernels"] == "failed"
    assert found["parity/recorded-seed0/kernels"] == "verified"
    assert not report.ok


def test_without_photographs_it_says_so(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "find_photos", lambda _: [])
    bundle = Bundle.open(tiny_bundle)
    report = verify(bundle, lambda: rebuild_reference(bundle))
    (photographs,) = [check for check in report.checks if check.name == "photographs"]
    assert photographs.status == "not-verified"
    assert "scikit-learn" in photographs.reason
    assert report.ok


def test_without_kernels_it_says_so(tmp_path: Path) -> None:
    bundle = export("tiny_net:build", output=tmp_path / "b", kernels=False)
    report = verify(bundle, no_source)
    assert statuses(report)["kernels"] == "not-verified"
    assert not any(name.endswith("/kernels") for name in statuses(report))
    assert report.ok


def test_changed_source_is_not_taken_for_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny_net
    import torch

    bundle = export("tiny_net:build", output=tmp_path / "b")
    rebuild_reference(bundle)
    build = tiny_net.build

    def retrained(**options: Any) -> Any:
        net = build(**options)
        with torch.no_grad():
            net[0].weight.mul_(1.1)
        return net

    monkeypatch.setattr(tiny_net, "build", retrained)
    with pytest.raises(UsageError, match="other weights now"):
        rebuild_reference(bundle)


def test_sources_on_disk_are_found_again(tmp_path: Path) -> None:
    import tiny_net
    import torch

    program = torch.export.export(tiny_net.build(), (torch.zeros(1, 3, 24, 24),))
    torch.export.save(program, tmp_path / "net.pt2")
    bundle = export(tmp_path / "net.pt2", output=tmp_path / "b")
    report = verify(bundle, lambda: rebuild_reference(bundle))
    assert statuses(report)["parity/source-seed11-batch1/kernels"] == "verified"
    (tmp_path / "net.pt2").unlink()
    with pytest.raises(UsageError, match="not where it was"):
        rebuild_reference(bundle)


def test_onnx_source(tmp_path: Path) -> None:
    import onnx_ir as ir

    from attnc.compiler.trace import trace

    ir.save(trace("tiny_net:build").model, tmp_path / "net.onnx")
    bundle = export(tmp_path / "net.onnx", output=tmp_path / "b")
    report = verify(bundle, lambda: rebuild_reference(bundle))
    assert statuses(report)["parity/source-seed11-batch1/kernels"] == "verified"
    assert report.ok
