"""Files of earlier runs: which bundle they are about, what is taken from them, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_inputs import timed, verified, written

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UsageError
from attnc.tools.report.evidence import by_bundle, latency, read_document, verification


def paired(*documents: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
    return [(Path(f"{place}.json"), document) for place, document in enumerate(documents)]


def names(held: list[list[tuple[Path, dict[str, Any]]]]) -> list[list[str]]:
    return [[path.name for path, _ in documents] for documents in held]


def test_files_that_name_no_bundle_are_theirs_in_order(
    folders: dict[str, Path],
) -> None:
    bundles = [Bundle.open(folders[name]) for name in ("evit", "shvit")]
    assert names(by_bundle(paired(verified(), verified()), bundles)) == [["0.json"], ["1.json"]]


def test_a_file_that_names_its_bundle_goes_there(folders: dict[str, Path]) -> None:
    bundles = [Bundle.open(folders[name]) for name in ("evit", "shvit")]
    digest = bundles[1].manifest.digest
    given = paired(
        timed(model="report_models:shvit", precision="fp32"), verified(bundle={"digest": digest})
    )
    assert names(by_bundle(given, bundles)) == [[], ["0.json", "1.json"]]


def test_nothing_is_guessed(folders: dict[str, Path]) -> None:
    bundles = [Bundle.open(folders[name]) for name in ("evit", "shvit")]
    with pytest.raises(UsageError, match=r"0\.json could be about any of evit, shvit"):
        by_bundle(paired(verified()), bundles)


def test_a_file_about_another_model_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="about none of these bundles"):
        by_bundle(paired(timed(model="deit_small")), [Bundle.open(folders["evit"])])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"checks": 3}', "\x00"])
def test_what_is_no_report_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "it.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"it\.json"):
        read_document(path, "checks", "attnc verify")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_document(tmp_path / "none.json", "checks", "attnc verify")


def test_checks_are_counted_and_rounded() -> None:
    found = verification("v.json", verified(kernels={"count": 3, "name": "x"}))
    assert (found.verified, found.failed, found.not_run, found.ok) == (1, 1, 1, False)
    assert found.checks[0].value == 2.35e-06
    assert [(fact.name, fact.value) for fact in found.facts] == [
        ("kernels/count", 3),
        ("kernels/name", "x"),
    ]


def test_accuracy_is_in_percent_with_its_interval() -> None:
    it = verification("v.json", verified()).accuracy
    assert it is not None
    assert (it.bundle_top1, it.source_top1, it.drop) == (97.78, 98.0, 0.22)
    assert (it.drop_low, it.drop_high, it.confidence) == (-0.61, 1.25, 95.0)


def test_accuracy_of_a_source_that_is_gone() -> None:
    bare = {"dataset": "d", "pictures": 3, "bundle": {"top1": 1.0, "top5": 1.0}, "interval": None}
    it = verification("v.json", verified(accuracy=bare)).accuracy
    assert it is not None
    assert it.source_top1 is None
    assert it.drop_low is None


def test_latency_keeps_samples_and_intervals(tmp_path: Path) -> None:
    path = written(tmp_path / "b.json", timed())
    found = latency("b.json", read_document(path, "results", "attnc bench"))
    assert [setting.threads for setting in found.settings] == [1, 2]
    ours, theirs = found.settings[0].runners
    assert ours.n == theirs.n == len(ours.samples_ms)
    assert ours.least_ms <= ours.quarter_ms <= ours.median_ms <= ours.p90_ms <= ours.most_ms
    (ratio,) = found.settings[0].ratios
    assert (ratio.runner, ratio.ratio, ratio.low, ratio.high) == ("ort", 0.751, 0.701, 0.812)
    assert found.left_out[0].about == "openvino"
    assert found.sessions[0].peak_mb is None


def test_a_benchmark_of_another_make_is_refused() -> None:
    with pytest.raises(UsageError, match="another benchmark"):
        latency("b.json", {"results": [{"samples_ms": [1.0]}]})


def test_modes_of_a_gpu_are_settings_of_their_own() -> None:
    row = {"runner": "attnc", "batch": 1, "samples_ms": [1.0, 2.0], "ratio_to": {}}
    rows = [{**row, "mode": mode} for mode in ("graph", "stream")]
    found = latency("b.json", {"results": rows, "device": {"gpu": "some GPU"}})
    assert [setting.mode for setting in found.settings] == ["graph", "stream"]
    assert all(len(setting.runners) == 1 for setting in found.settings)
    assert found.machine == "some GPU"


def test_values_that_are_no_numbers_are_left_out() -> None:
    checks = [{"name": "a", "status": "failed", "value": float("nan")}]
    found = verification("v.json", {"checks": checks, "far": float("inf")})
    assert found.checks[0].value is None
    assert found.facts == ()
    assert not found.ok
