"""The baseline's bundle beside the new one: when it is used, and what is said when it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_fakes import COUNTERS, DIGEST, MACHINE, FakeLab, FakeSitter, budgets

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import ExitCode, UsageError
from attnc.compiler.manifest import FILE_NAME
from attnc.compiler.progress import SILENT
from attnc.runtimes.measure import Effort
from attnc.tools.gate import kept
from attnc.tools.gate.baseline import Baseline, read_baseline, write_baseline
from attnc.tools.gate.budget import Budgets
from attnc.tools.gate.facts import Facts
from attnc.tools.gate.gate import Setting, run_gate
from attnc.tools.gate.lab import RealLab
from attnc.tools.gate.pairing import Pairing
from attnc.tools.gate.report import GateReport, Result
from attnc.tools.gate.turns import one_core, take_turns

PAIRED, SAME = Pairing("paired"), Pairing("same")
OTHER = {**MACHINE, "cpu": "Another CPU", "architecture": "aarch64"}


def lab_at(ms: float, pairing: Pairing | None = None, **more: Any) -> FakeLab:
    known = {} if pairing is None else {DIGEST: pairing}
    return FakeLab(FakeSitter({"m": ms}, **more), pairings=known)


def made(lab: FakeLab, *, machine: Any = MACHINE, keeps: bool = True, **gate: Any) -> Baseline:
    setting = Setting("b.toml", [1], machine, Baseline(), "b.json", update=True, keeps=keeps)
    report, record = run_gate(budgets(**gate), lab, setting)
    assert report.verdict == "passed", report.results
    return Baseline().renewed(record)


def gate(lab: FakeLab, baseline: Baseline, limits: Any = None, **method: Any) -> GateReport:
    setting = Setting("b.toml", [1], MACHINE, baseline, "b.json")
    return run_gate(budgets(limits, **method), lab, setting)[0]


def latency(report: GateReport) -> Result:
    [found] = [r for r in report.results if (r.metric, r.kind) == ("latency", "baseline")]
    return found


def test_the_kept_bundle_decides_and_stored_timings_do_not() -> None:
    baseline = made(lab_at(9.0))  # stored: 9 times the reference
    assert baseline.bundles() == {DIGEST}
    same = gate(lab_at(2.0, PAIRED), baseline)
    assert latency(same).status == "passed"
    assert latency(same).value == pytest.approx(1.0, abs=0.02)
    assert same.cases[0].compared == "bundle"
    assert (same.baseline.reason, same.cases[0].values.get("latency_ratio")) == ("", None)
    slow = gate(lab_at(2.2, PAIRED), baseline)
    assert latency(slow).status == "failed"
    assert latency(slow).confirmation == pytest.approx(1.1, abs=0.02)
    assert slow.cases[0].values["ratio_to_baseline"] == pytest.approx(1.1, abs=0.02)


def test_a_pair_that_is_too_noisy_gives_no_verdict() -> None:
    report = gate(lab_at(2.1, PAIRED, spread=0.6), made(lab_at(2.0)), most=8)
    assert latency(report).status == "no-verdict"
    assert report.exit_code == ExitCode.NO_VERDICT


def test_pairs_count_on_another_class_of_machine() -> None:
    report = gate(lab_at(2.2, PAIRED), made(lab_at(9.0), machine=OTHER))
    assert latency(report).status == "failed"
    assert "its timings are not used" in report.baseline.reason
    assert "latency is compared with its bundles" in report.baseline.reason


def test_the_same_bundle_needs_no_measuring() -> None:
    lab = lab_at(9.0, SAME)
    report = gate(lab, made(lab_at(2.0)))
    assert (latency(report).status, latency(report).value) == ("passed", 1.0)
    assert "byte for byte" in latency(report).reason
    assert lab.sitter.sittings == 0


def test_without_the_bundle_stored_timings_are_used_and_the_reason_is_said() -> None:
    away = Pairing("none", "the bundles that the baseline was made of are not here")
    report = gate(lab_at(2.2, away), made(lab_at(2.0)))
    assert latency(report).status == "failed"
    assert report.cases[0].compared == "reference"
    assert report.baseline.reason == f"{away.reason}; latency is compared with stored timings, " + (
        "which is rougher"
    )


def test_the_plain_export_comes_before_the_reference() -> None:
    first = lab_at(2.0)
    first.plain = 4.0
    baseline = made(first, keeps=False)
    assert set(baseline.records[0].cases["m"].timings) >= {"latency_ratio", "ratio_to_ort"}
    assert baseline.bundles() == set()
    restless = lab_at(2.6)  # to the reference 1.3 times what it was, to the plain export as it was
    restless.plain = 5.2
    report = gate(restless, baseline)
    assert latency(report).status == "passed"
    assert report.cases[0].compared == "plain export"
    gone = gate(lab_at(2.0), baseline)
    assert (gone.cases[0].compared, latency(gone).status) == ("reference", "passed")


def test_a_noisy_machine_makes_a_baseline_of_bundles_alone() -> None:
    noisy = lab_at(2.0, spread=0.4)
    baseline = made(noisy, baseline_sittings=4)
    [case] = baseline.records[0].cases.values()
    assert (case.bundle, set(case.timings) & {"latency_ratio"}) == (DIGEST, set())
    report = gate(lab_at(2.0), baseline)
    assert latency(report).status == "skipped"
    assert latency(report).reason == "the baseline has no latency of this case"


def test_a_baseline_of_the_version_before_is_read_and_renewed(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_baseline(path, made(lab_at(2.0), keeps=False))
    document = json.loads(path.read_text(encoding="utf-8"))
    del document["records"][0]["cases"]["m"]["bundle"]
    path.write_text(json.dumps({**document, "version": 1}), encoding="utf-8")
    older = read_baseline(path)
    assert older.version == 1
    assert latency(gate(lab_at(2.0), older)).status == "passed"
    assert older.renewed(older.records[0]).version == 2


def test_bundles_are_kept_found_and_pruned(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = kept.folder_of(tmp_path / "baseline.json")
    assert folder.name == "baseline.bundles"
    bundle = Bundle.open(tiny_bundle)
    digest = bundle.manifest.digest
    assert "there is no" in str(kept.find(folder, digest))
    kept.keep(folder, [bundle, bundle])
    found = kept.find(folder, digest)
    assert isinstance(found, Bundle)
    assert found.manifest == bundle.manifest
    assert "belongs to another baseline" in str(kept.find(folder, "0" * 64))
    near = digest[:16] + "0" * 48
    assert "is another bundle" in str(kept.find(folder, near))
    (folder / "notes").mkdir()
    (folder / ("f" * 16)).mkdir()  # not a bundle
    kept.prune(folder, [digest])
    assert isinstance(kept.find(folder, digest), Bundle)
    kept.prune(folder, [])
    assert sorted(place.name for place in folder.iterdir()) == ["f" * 16, "notes"]


def test_a_damaged_bundle_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    kept.keep(tmp_path, [bundle])
    [place] = tmp_path.iterdir()
    (place / "model.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match=r"damaged: model\.onnx is not the file") as caught:
        kept.find(tmp_path, bundle.manifest.digest)
    assert caught.value.where == str(place)
    assert "--no-bundles" in caught.value.remedy
    kept.keep(tmp_path / "new", [bundle])
    (tmp_path / "new" / place.name / FILE_NAME).write_text("{}")
    with pytest.raises(UsageError):
        kept.find(tmp_path / "new", bundle.manifest.digest)


def test_real_pairs(tiny_bundle: Path, tmp_path: Path) -> None:
    """A bundle beside a copy of it that differs in what does not run."""
    before = tmp_path / "before"
    shutil.copytree(tiny_bundle, before)
    own = Bundle.open(tiny_bundle)
    changed = own.manifest.model_copy(update={"model": "older"}).sealed()
    (before / FILE_NAME).write_text(changed.to_json(), encoding="utf-8")
    folder = tmp_path / "b.bundles"
    kept.keep(folder, [Bundle.open(before)])
    method = {"sittings": 3, "most": 3, "rounds": 2, "burst": 2}
    case = {"name": "tiny", "bundle": tiny_bundle.name}
    wanted = Budgets.model_validate({"gate": method, "case": [case]})
    with RealLab(wanted, tiny_bundle.parent, SILENT, folder) as lab:
        assert lab.pair(wanted.case[0], own.manifest.digest) == SAME
        assert "another baseline" in lab.pair(wanted.case[0], "0" * 64).reason
        assert lab.pair(wanted.case[0], changed.digest) == PAIRED
        sitting = lab.timing().sit(["tiny"])["tiny"]
        assert {name: turns.shape for name, turns in sitting.items()} == {
            "attnc": (2, 2),
            "baseline": (2, 2),
        }
        wider = wanted.case[0].model_copy(update={"batch": 2})
        assert lab.pair(wider, changed.digest) == PAIRED
    with RealLab(wanted, tiny_bundle.parent, SILENT) as lab:
        assert lab.pair(wanted.case[0], changed.digest) == Pairing("none")


class Counting:
    """Notes in a list when it has its turn."""

    def __init__(self, name: str, order: list[str]) -> None:
        self.name, self.order = name, order

    def turn(self, lead_in: int, burst: int) -> tuple[list[float], bool]:
        self.order.append(self.name)
        return [float(len(self.order))] * burst, True


def test_a_pair_sits_side_by_side_and_each_is_first_as_often() -> None:
    order: list[str] = []
    units = [[Counting("r", order)], [Counting("a", order), Counting("b", order)]]
    taken = take_turns(units, Effort(1, rounds=8, burst=3))
    rounds = ["".join(order[place : place + 3]) for place in range(0, 24, 3)]
    assert rounds[:4] == ["rab", "abr", "rba", "bar"]
    assert rounds[4:] == rounds[:4]
    assert [[turns.shape for turns in unit] for unit in taken] == [[(8, 3)], [(8, 3), (8, 3)]]
    assert np.array_equal(taken[1][1][0], [3.0] * 3)


def test_one_thread_stays_on_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    set_to: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5}, raising=False)
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda pid, cores: set_to.append(set(cores)), raising=False
    )
    for number in range(2):
        with one_core(1, number):
            pass
    assert set_to == [{2}, {2, 5}, {5}, {2, 5}]
    with one_core(2, 0):
        pass
    assert len(set_to) == 4

    def forbidden(pid: int, cores: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", forbidden, raising=False)
    with one_core(1, 0):
        pass


def test_facts_know_their_bundle(tiny_bundle: Path) -> None:
    wanted = Budgets.model_validate({"case": [{"name": "tiny", "bundle": tiny_bundle.name}]})
    with RealLab(wanted, tiny_bundle.parent, SILENT) as lab:
        facts = lab.facts(wanted.case[0])
    assert facts.digest == Bundle.open(tiny_bundle).manifest.digest
    assert Facts(COUNTERS).digest == ""
