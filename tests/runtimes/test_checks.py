"""A check that did not run is never a check that passed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from attnc.runtimes.checks import Check, Report, Status, parity_check, top1_check
from attnc.runtimes.compare import compare


@pytest.mark.parametrize(
    ("statuses", "ok"),
    [
        ([], False),
        (["not-verified"], False),
        (["build-only", "not-verified"], False),
        (["verified"], True),
        (["verified", "not-verified", "build-only"], True),
        (["verified", "failed"], False),
    ],
)
def test_ok_needs_something_verified_and_nothing_failed(statuses: list[Status], ok: bool) -> None:
    assert Report([Check("c", status) for status in statuses]).ok is ok


def test_report_has_the_documented_fields() -> None:
    report = Report([Check("a", "verified", 1e-6, 1e-4), Check("b", "not-verified", reason="why")])
    document = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert set(document) == {"ok", "checks"}
    assert all(
        set(check) == {"name", "status", "value", "limit", "reason"} for check in document["checks"]
    )


def test_parity_against_its_limit() -> None:
    expected = np.array([[1.0, 2.0]])
    assert parity_check("p", compare(expected * (1 + 5e-5), expected)).status == "verified"
    assert parity_check("p", compare(expected * (1 + 5e-4), expected)).status == "failed"
    broken = parity_check("p", compare(expected * np.nan, expected))
    assert (broken.status, broken.value) == ("failed", None)
    assert "NaN" in broken.reason


def test_top1() -> None:
    expected = np.array([[1.0, 2.0]])
    assert top1_check("t", compare(expected, expected)).status == "verified"
    assert top1_check("t", compare(expected[:, ::-1], expected)).status == "failed"
