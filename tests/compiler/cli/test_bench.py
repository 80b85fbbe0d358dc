"""`attnc bench`: what its report holds; no test here looks at how fast anything was."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnc.compiler.errors import ParityError

pytestmark = pytest.mark.usefixtures("importable_data")

QUICK = ["--sittings", "1", "--rounds", "3", "--burst", "2"]


@pytest.fixture(scope="module")
def report_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report") / "bench.json"


def test_report(cli: Any, tiny_bundle: Path) -> None:
    options = ["--against", "ort,torch", "--threads", "1,2", "--batch", "2,1", "--footprint", "1"]
    options += ["--sittings", "2", "--rounds", "2", "--burst", "3"]
    done = cli("bench", tiny_bundle, *options, "--json", "-")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["model"], report["precision"]) == ("tiny_net:build", "fp32")
    settings = [(r["runner"], r["threads"], r["batch"]) for r in report["results"]]
    assert settings == [
        (runner, threads, batch)
        for batch in (2, 1)
        for threads in (1, 2)
        for runner in ("attnc", "ort", "torch")
    ]
    for row in report["results"]:
        assert row["n"] == len(row["samples_ms"]) == 12
        assert row["median_ms"] == pytest.approx(np.median(row["samples_ms"]), abs=1e-3)
        assert row["median_ms"] <= row["p90_ms"] <= row["p99_ms"]
        assert set(row["ratio_to"]) == ({"ort", "torch"} if row["runner"] == "attnc" else set())
    assert "exporting for batch 1: the bundle has batch 2" in done.err
    check_ratios(report)
    check_surroundings(report)


def check_ratios(report: dict[str, Any]) -> None:
    medians = {(r["runner"], r["threads"], r["batch"]): r["median_ms"] for r in report["results"]}
    for row in report["results"]:
        for theirs, ratio in row["ratio_to"].items():
            expected = row["median_ms"] / medians[theirs, row["threads"], row["batch"]]
            assert ratio == pytest.approx(expected, rel=0.02, abs=1e-4)
            low, high = row["ratio_interval"][theirs]
            assert low <= high


def check_surroundings(report: dict[str, Any]) -> None:
    machine = report["machine"]
    assert machine["cores"] >= 1
    assert machine["cpu"]
    assert {"onnxruntime", "torch", "attnc"} <= set(machine["versions"])
    assert [entry["runner"] for entry in report["footprint"]] == ["attnc", "ort"]
    assert set(report["footprint"][0]["ratio_to"]["ort"]) >= {"create_ms"}


def test_table_for_people(cli: Any, tiny_bundle: Path, report_path: Path) -> None:
    options = ["--footprint", "0", *QUICK, "--json", report_path]
    done = cli("bench", tiny_bundle, *options)
    assert done.code == 0, done.err
    assert "ours / theirs" in done.out
    assert json.loads(report_path.read_text())["footprint"] == []


def test_missing_competitor_is_named_not_skipped_silently(
    cli: Any, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attnc.runtimes import registry

    find = importlib.util.find_spec
    monkeypatch.setattr(
        registry.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "openvino" else find(name, *rest),
    )
    options = ["--footprint", "0", *QUICK]
    done = cli("bench", tiny_bundle, "--against", "ort,openvino", *options, "--json", "-")
    assert done.code == 0
    assert "not timed: openvino: openvino is not installed" in done.err
    assert "try: pip install 'attnc[peers]'" in done.err
    (missing,) = json.loads(done.out)["left_out"]
    assert (missing["runner"], missing["remedy"]) == ("openvino", "pip install 'attnc[peers]'")
    done = cli("bench", tiny_bundle, "--against", "openvino", *options)
    assert done.code == 4
    assert "none of openvino is installed" in done.err


def test_torch_compile_says_that_it_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    from attnc.runtimes import registry

    entry = registry.find_runner("torch-compile")
    monkeypatch.setattr(registry.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert registry.why_missing(entry) is None
    monkeypatch.setattr(registry.shutil, "which", lambda name: None)
    missing = registry.why_missing(entry)
    assert missing is not None
    assert "C++ compiler" in missing.reason
    assert "g++" in missing.remedy


def test_a_competitor_that_cannot_run_the_model_is_left_out(
    cli: Any, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attnc.runtimes import registry

    picky = [
        registry.Entry(name, "numpy", "", f"fake_runners:{name}", picky=True)
        for name in ("raises", "sleeps")
    ]
    monkeypatch.setattr(registry, "RUNNERS", (*registry.RUNNERS, *picky))
    options = ["--footprint", "0", *QUICK, "--patience", "10"]
    done = cli("bench", tiny_bundle, "--against", "raises,ort,sleeps", *options, "--json", "-")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert [row["runner"] for row in report["results"]] == ["attnc", "ort"]
    assert [miss["runner"] for miss in report["left_out"]] == ["raises", "sleeps"]
    assert "not timed: raises (threads 1, batch 2): raises failed: RuntimeError" in done.err
    assert "more than 10 s" in report["left_out"][1]["reason"]
    done = cli("bench", tiny_bundle, "--against", "raises", *options)
    assert done.code == 1
    assert "out of beads" in done.err


def test_a_wrong_bundle_is_not_timed(
    cli: Any, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_ours(monkeypatch, "fake_runners:off_by_a_percent")
    done = cli("bench", tiny_bundle, "--footprint", "0", *QUICK)
    assert done.code == 1
    assert "do not compute the same" in done.err


def replace_ours(monkeypatch: pytest.MonkeyPatch, factory: str) -> None:
    from attnc.runtimes import registry

    entry = replace(registry.find_runner("attnc"), factory=factory)
    monkeypatch.setattr(registry, "RUNNERS", (entry, *registry.RUNNERS[1:]))


def test_only_the_child_that_needs_torch_imports_it(
    cli: Any, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_ours(monkeypatch, "fake_runners:ours_unless_torch_is_imported")
    done = cli("bench", tiny_bundle, "--against", "torch", "--footprint", "0", *QUICK)
    assert done.code == 0, done.err


def test_a_runner_that_fails_is_one_message(
    cli: Any, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_ours(monkeypatch, "fake_runners:raises")
    done = cli("bench", tiny_bundle, "--footprint", "0", *QUICK)
    assert (done.code, done.err.count("error:")) == (1, 1)
    assert "attnc failed: RuntimeError: out of beads" in done.err


def test_a_module_from_python_has_no_plain_export(cli: Any, tmp_path: Path) -> None:
    from tiny_net import build

    import attnc

    attnc.export(build(), output=tmp_path / "b")
    done = cli("bench", tmp_path / "b", *QUICK)
    assert done.code == 3
    assert "handed over as a module" in done.err


@pytest.mark.parametrize(("choosing", "same"), [(False, 1e-3), (True, 0.2)])
def test_models_that_choose_may_differ_more(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, choosing: bool, same: float
) -> None:
    from attnc.compiler.bundle import Bundle
    from attnc.runtimes import bench
    from attnc.runtimes.registry import Workload, find_runner

    monkeypatch.setattr(bench, "is_discontinuous", lambda bundle: choosing)
    bundle = Bundle.open(tiny_bundle)
    work = Workload(bundle, bundle, lambda: tiny_bundle, tiny_bundle)
    setting = bench._setting(bench.Plan((find_runner("ort"),), (1,), (2,)), work, 1, 2)
    assert setting.same == same
    far = [np.ones(4), np.ones(4) * 1.05]
    if choosing:
        bench.check_same_model(["a", "b"], far, setting.same)
    else:
        with pytest.raises(ParityError, match="do not compute the same"):
            bench.check_same_model(["a", "b"], far, setting.same)
