"""`attnc gate`: exit codes, files and messages, with measurements that are made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from gate_fakes import COUNTERS, DIGEST, MACHINE, FakeLab, FakeSitter

from attnc.tools.gate.facts import Facts

Install = Callable[[FakeLab], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install(lab)` lets the command measure with it."""

    def put(lab: FakeLab) -> None:
        monkeypatch.setattr("attnc.tools.gate.lab.RealLab", lambda *given: nullcontext(lab))
        monkeypatch.setattr("attnc.runtimes.machine.machine_info", lambda: dict(MACHINE))

    return put


@pytest.fixture
def budget(tmp_path: Path) -> Path:
    path = tmp_path / "budgets.toml"
    path.write_text('[[case]]\nname = "m"\nmodel = "x"\nlimits = { latency_ratio = 2.1 }\n')
    return path


def lab(ms: float, spread: float = 0.01, **counters: float) -> FakeLab:
    return FakeLab(
        FakeSitter({"m": ms}, spread=spread), Facts({**COUNTERS, **counters}, digest=DIGEST)
    )


@pytest.mark.parametrize(
    ("measured", "code", "said"),
    [
        (lab(2.0), 0, "passed"),
        (lab(3.0), 1, "FAILED"),
        (lab(2.1, spread=0.6), 5, "NO VERDICT: the machine is too noisy, this is not a pass"),
    ],
)
def test_exit_codes(
    cli: Any, install: Install, budget: Path, measured: FakeLab, code: int, said: str
) -> None:
    install(measured)
    done = cli("gate", "--budget", budget)
    assert done.code == code
    assert said in done.err
    assert "latency_ratio" in done.out


def test_all_files(cli: Any, install: Install, budget: Path, tmp_path: Path) -> None:
    install(lab(3.0))
    files = {name: tmp_path / f"out.{name}" for name in ("json", "junit", "markdown", "benchmark")}
    options = ["--json", files["json"], "--junit", files["junit"], "--markdown", files["markdown"]]
    options += ["--benchmark-json", files["benchmark"], "--github-annotations"]
    done = cli("gate", "--budget", budget, *options)
    assert done.code == 1
    assert "::error file=" in done.out
    assert ",line=1,title=attnc gate%3A m%3A latency_ratio::" in done.out
    report = json.loads(files["json"].read_text())
    assert (report["verdict"], report["exit_code"]) == ("failed", 1)
    assert ElementTree.parse(files["junit"]).find(".//failure") is not None
    assert "**failed**" in files["markdown"].read_text()
    assert json.loads(files["benchmark"].read_text())[0]["name"] == "m: nodes"
    assert not list(tmp_path.glob(".*"))


def test_json_on_stdout_is_alone(cli: Any, install: Install, budget: Path) -> None:
    install(lab(3.0))
    done = cli("gate", "--budget", budget, "--json", "-", "--github-annotations")
    assert json.loads(done.out)["verdict"] == "failed"
    assert "::error" in done.err


def test_a_baseline_is_made_kept_and_used(
    cli: Any, install: Install, budget: Path, tmp_path: Path
) -> None:
    baseline = tmp_path / "baseline.json"
    install(lab(2.0))
    missing = cli("gate", "--budget", budget, "--baseline", baseline)
    assert missing.code == 2
    assert "there is no baseline yet" in missing.err
    made = cli("gate", "--budget", budget, "--baseline", baseline, "--update-baseline")
    assert made.code == 0, made.err
    assert "wrote" in made.err
    record = json.loads(baseline.read_text())["records"][0]
    assert record["cases"]["m"]["counters"]["nodes"] == 46
    install(lab(2.0))
    assert cli("gate", "--budget", budget, "--baseline", baseline).code == 0
    install(lab(2.0, nodes=47))
    worse = cli("gate", "--budget", budget, "--baseline", baseline)
    assert worse.code == 1
    assert "+1 against the baseline" in worse.out


def test_a_run_that_fails_makes_no_baseline(
    cli: Any, install: Install, budget: Path, tmp_path: Path
) -> None:
    baseline = tmp_path / "baseline.json"
    install(lab(3.0))
    done = cli("gate", "--budget", budget, "--baseline", baseline, "--update-baseline")
    assert done.code == 1
    assert "was not written" in done.err
    assert not baseline.exists()


def test_bundles_are_kept_with_the_baseline_unless_told_otherwise(
    cli: Any, install: Install, budget: Path, tmp_path: Path
) -> None:
    baseline = tmp_path / "baseline.json"

    def bundle_of(*options: object) -> tuple[Any, list[str]]:
        measured = lab(2.0)
        install(measured)
        update = cli("gate", "--budget", budget, "--baseline", baseline, *options)
        assert update.code == 0, update.err
        held = json.loads(baseline.read_text())["records"][0]["cases"]["m"]["bundle"]
        return held, measured.kept

    assert bundle_of("--update-baseline", "--no-bundles") == (None, [])
    assert bundle_of("--update-baseline") == (DIGEST, ["m"])
    assert bundle_of() == (DIGEST, [])  # a run that only compares keeps nothing
    stale = tmp_path / "baseline.bundles" / ("f" * 16)
    stale.mkdir(parents=True)
    (stale / "manifest.json").touch()
    bundle_of("--update-baseline", "--no-bundles")
    assert stale.exists()
    bundle_of("--update-baseline")
    assert not stale.exists()


def test_bundle_options_that_do_not_fit(
    cli: Any, install: Install, budget: Path, tmp_path: Path
) -> None:
    install(lab(2.0))
    file = tmp_path / "file"
    file.touch()
    update = ["--baseline", tmp_path / "b.json", "--update-baseline"]
    for options, says in (
        (["--bundles", file], "there is no --baseline"),
        ([*update, "--no-bundles", "--bundles", file], "given too"),
        ([*update, "--bundles", file], "bundles are kept in a folder"),
    ):
        done = cli("gate", "--budget", budget, *options)
        assert done.code == 2
        assert says in " ".join(done.err.split()), done.err


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("nonsense", 2, "cannot read the baseline"),
        ('{"format": "other"}', 2, "is no baseline"),
        ('{"format": "attnc-gate-baseline", "version": 9}', 3, "has version 9"),
        ('{"format": "attnc-gate-baseline", "version": 1, "x": 1}', 2, "x: Extra inputs"),
    ],
)
def test_bad_baselines(
    cli: Any, install: Install, budget: Path, tmp_path: Path, text: str, code: int, says: str
) -> None:
    install(lab(2.0))
    baseline = tmp_path / "baseline.json"
    baseline.write_text(text)
    done = cli("gate", "--budget", budget, "--baseline", baseline)
    assert done.code == code
    assert says in done.err


def test_an_update_without_a_file_and_a_wrong_budget(
    cli: Any, install: Install, budget: Path, tmp_path: Path
) -> None:
    install(lab(2.0))
    done = cli("gate", "--budget", budget, "--update-baseline")
    assert done.code == 2
    assert "name it with --baseline" in done.err
    budget.write_text('[[case]]\nmodel = "x"\nlimits = { latency = 1 }\n')
    done = cli("gate", "--budget", budget)
    assert done.code == 2
    assert "case[0].limits.latency: there is no such key" in done.err


def test_a_baseline_of_another_machine_is_said(
    cli: Any, install: Install, budget: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline = tmp_path / "baseline.json"
    install(lab(2.0))
    cli("gate", "--budget", budget, "--baseline", baseline, "--update-baseline")
    other = {**MACHINE, "cpu": "Other"}
    monkeypatch.setattr("attnc.runtimes.machine.machine_info", lambda: other)
    done = cli("gate", "--budget", budget, "--baseline", baseline, "--github-annotations")
    assert done.code == 0
    assert "of another class of machine" in done.err
    assert "cpu: Test CPU there, Other here" in done.err
    assert f"::notice file={baseline.as_posix()}" in done.out


def test_help_tells_the_exit_codes(cli: Any) -> None:
    assert "5 no verdict" in " ".join(cli("--help").out.split())
    assert "5: no verdict" in " ".join(cli("gate", "--help").out.split())
