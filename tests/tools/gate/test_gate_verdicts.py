"""From samples to verdicts: pass, fail, not confirmed, no verdict, and what a baseline adds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from gate_fakes import COUNTERS, MACHINE, FakeLab, FakeSessions, FakeSitter, budgets

from attnc.compiler.errors import ExitCode, UsageError
from attnc.tools.gate.baseline import Baseline
from attnc.tools.gate.budget import Budgets
from attnc.tools.gate.facts import Facts
from attnc.tools.gate.gate import Setting, run_gate
from attnc.tools.gate.report import GateReport, Result

OTHER = {**MACHINE, "cpu": "Another CPU", "architecture": "aarch64"}


def gate(wanted: Budgets, lab: FakeLab, **setting: Any) -> GateReport:
    known = {"budget_file": "budgets.toml", "lines": [1], "machine": MACHINE, **setting}
    return run_gate(wanted, lab, Setting(**known))[0]


def lab_at(ms: float, **more: Any) -> FakeLab:
    return FakeLab(FakeSitter({"m": ms}, **more))


def made_baseline(wanted: Budgets, ms: float = 2.0, machine: Any = MACHINE) -> Baseline:
    setting = Setting("budgets.toml", [1], machine, Baseline(), "b.json", update=True)
    report, record = run_gate(wanted, lab_at(ms), setting)
    assert report.verdict == "passed"
    return Baseline().renewed(record)


def only(report: GateReport, metric: str, kind: str = "budget") -> Result:
    [found] = [r for r in report.results if (r.metric, r.kind) == (metric, kind)]
    return found


def test_within_all_budgets() -> None:
    limits = {"latency_ms": 3, "p99_ms": 3, "latency_ratio": 2.5, "nodes": 46, "fused_share": 1}
    limits |= {"peak_mb": 110, "start_up_ms": 40, "ratio_to": {"ort": 0.6}}
    lab = lab_at(2.0, peers={"ort": 4.0})
    report = gate(budgets(limits), lab)
    assert {r.status for r in report.results} == {"passed"}
    assert (report.verdict, report.exit_code) == ("passed", ExitCode.OK)
    assert {r.metric for r in report.results} >= {"ratio_to_ort", "p99_ms", "peak_mb"}
    assert report.cases[0].values["ratio_to_ort"] == pytest.approx(0.5, rel=0.02)
    assert lab.sitter.sittings == 8


def test_over_a_budget_is_confirmed_by_a_second_run() -> None:
    lab = lab_at(2.0)
    report = gate(budgets({"latency_ratio": 1.8}), lab)
    found = only(report, "latency_ratio")
    assert found.status == "failed"
    assert found.confirmation == pytest.approx(2.0, rel=0.02)
    assert found.confirmation_interval != found.interval
    assert report.exit_code == ExitCode.CHECK_FAILED
    assert lab.sitter.sittings == 16


def test_what_a_second_run_does_not_confirm_is_no_failure() -> None:
    lab = lab_at(2.0, calm=8, later={"m": 1.5})
    report = gate(budgets({"latency_ratio": 1.8}), lab)
    assert only(report, "latency_ratio").status == "not-confirmed"
    assert report.exit_code == ExitCode.OK


def test_too_noisy_is_neither_pass_nor_failure() -> None:
    lab = lab_at(1.8, spread=0.5)
    report = gate(budgets({"latency_ratio": 1.8}, most=12), lab)
    found = only(report, "latency_ratio")
    assert found.status == "no-verdict"
    assert "too noisy" in found.reason
    assert (report.verdict, report.exit_code) == ("no-verdict", ExitCode.NO_VERDICT)
    assert report.exit_code == 5
    assert lab.sitter.sittings == 12


def test_noise_in_the_second_run_gives_no_verdict() -> None:
    lab = lab_at(2.0, calm=8, later={"m": 1.82})
    lab.sitter.spread = 0.01
    sit = lab.sitter.sit

    def noisier(cases: Any) -> Any:
        lab.sitter.spread = 0.01 if lab.sitter.sittings < 8 else 0.6
        return sit(cases)

    lab.sitter.sit = noisier  # type: ignore[method-assign]
    report = gate(budgets({"latency_ratio": 1.8}, most=12), lab)
    assert only(report, "latency_ratio").status == "no-verdict"


def test_a_failure_outweighs_a_missing_verdict() -> None:
    report = gate(budgets({"latency_ratio": 1.8, "nodes": 45}, most=8), lab_at(1.8, spread=0.5))
    assert {r.status for r in report.results} == {"failed", "no-verdict"}
    assert report.exit_code == ExitCode.CHECK_FAILED


def test_counters_are_exact() -> None:
    report = gate(budgets({"nodes": 45, "kernels": 46, "fused_share": 1.0}), lab_at(1))
    assert [(r.metric, r.status) for r in report.results] == [
        ("nodes", "failed"),
        ("kernels", "passed"),
        ("fused_share", "passed"),
    ]
    assert only(report, "nodes").reason == "+1 against the limit"
    less = FakeLab(FakeSitter({}), Facts({**COUNTERS, "fused_share": 0.9}))
    assert gate(budgets({"fused_share": 1.0}), less).exit_code == 1


def test_a_counter_that_the_target_does_not_have() -> None:
    lab = FakeLab(FakeSitter({}), Facts({"nodes": 3}))
    with pytest.raises(UsageError, match=r"m: limits\.kernels"):
        gate(budgets({"kernels": 46}), lab)


def test_parity_and_accuracy() -> None:
    wanted = Budgets.model_validate(
        {
            "case": [
                {
                    "name": "m",
                    "model": "x",
                    "dataset": "digits",
                    "limits": {"parity": 1e-4, "accuracy_drop": 0.01},
                }
            ]
        }
    )
    fine = Facts(COUNTERS, parity=2e-6, accuracy_drop=0.01, drop_interval=(0.0, 0.02))
    assert gate(wanted, FakeLab(FakeSitter({}), fine)).verdict == "passed"
    worse = replace(fine, accuracy_drop=0.02)
    assert only(gate(wanted, FakeLab(FakeSitter({}), worse)), "accuracy_drop").status == "failed"
    wrong = replace(fine, wrong="top1/photo: another class comes first")
    found = only(gate(wanted, FakeLab(FakeSitter({}), wrong)), "parity")
    assert (found.status, found.reason) == ("failed", wrong.wrong)
    unknown = replace(fine, parity=None, accuracy_drop=None)
    report = gate(wanted, FakeLab(FakeSitter({}), unknown))
    assert {r.status for r in report.results} == {"failed"}


def test_a_baseline_catches_a_slow_down_and_passes_what_is_as_it_was() -> None:
    wanted = budgets()
    baseline = made_baseline(wanted)
    same = gate(wanted, lab_at(2.0), baseline=baseline, baseline_file="b.json")
    assert only(same, "latency", "baseline").status == "passed"
    assert (same.baseline.timings, same.baseline.counters) == (True, True)
    slow = gate(wanted, lab_at(2.2), baseline=baseline)
    found = only(slow, "latency", "baseline")
    assert found.status == "failed"
    assert found.value == pytest.approx(1.1, rel=0.02)
    assert found.limit == pytest.approx(1.03)


def test_a_baseline_gates_counters_exactly_and_tells_what_got_better() -> None:
    wanted = budgets()
    baseline = made_baseline(wanted)
    more = FakeLab(FakeSitter({"m": 2.0}), Facts({**COUNTERS, "nodes": 47, "flops": 900}))
    report = gate(wanted, more, baseline=baseline)
    assert only(report, "nodes", "baseline").status == "failed"
    assert "--update-baseline" in only(report, "flops", "baseline").reason
    assert only(report, "kernels", "baseline").status == "passed"


def test_allowed_growth() -> None:
    wanted = budgets(allow={"file_bytes": 0.01})
    baseline = made_baseline(wanted)
    grown = FakeLab(FakeSitter({"m": 2.0}), Facts({**COUNTERS, "file_bytes": 9050}))
    assert gate(wanted, grown, baseline=baseline).verdict == "passed"
    large = FakeLab(FakeSitter({"m": 2.0}), Facts({**COUNTERS, "file_bytes": 9100}))
    assert gate(wanted, large, baseline=baseline).verdict == "failed"


def test_a_baseline_of_another_class_counts_but_does_not_time() -> None:
    wanted = budgets()
    baseline = made_baseline(wanted, machine=OTHER)
    lab = lab_at(9.0)
    lab.known = Facts({**COUNTERS, "nodes": 47, "file_bytes": 10000})
    report = gate(wanted, lab, baseline=baseline)
    assert lab.sitter.sittings == 0
    assert only(report, "latency", "baseline").status == "skipped"
    assert "Another CPU there, Test CPU here" in report.baseline.reason
    assert only(report, "nodes", "baseline").status == "failed"
    assert not [r for r in report.results if r.metric == "file_bytes"]
    assert (report.baseline.timings, report.baseline.counters) == (False, True)


@pytest.mark.parametrize("change", [{"cores": 4}, {"versions": {"onnxruntime": "1.31"}}])
def test_what_makes_another_class(change: dict[str, Any]) -> None:
    wanted = budgets()
    baseline = made_baseline(wanted, machine={**MACHINE, **change})
    report = gate(wanted, lab_at(2.0), baseline=baseline)
    assert not report.baseline.timings


def test_our_own_version_makes_no_other_class() -> None:
    wanted = budgets()
    newer = {**MACHINE, "versions": {**MACHINE["versions"], "attnc": "0.2.0"}}
    assert gate(wanted, lab_at(2.0), baseline=made_baseline(wanted), machine=newer).baseline.timings


def test_other_settings_and_new_cases_are_said() -> None:
    baseline = made_baseline(budgets())
    other = Budgets.model_validate(
        {
            "case": [
                {"name": "m", "model": "shvit_s1", "threads": 2},
                {"name": "new", "model": "shvit_s2"},
            ]
        }
    )
    lab = FakeLab(FakeSitter({"m": 2.0, "new": 2.0}))
    report = gate(other, lab, baseline=baseline, lines=[1, 4])
    reasons = {r.case: r.reason for r in report.results if r.status == "skipped"}
    assert "other settings" in reasons["m"]
    assert "does not have this case" in reasons["new"]


def test_start_up_and_memory_against_a_baseline_where_wanted() -> None:
    wanted = budgets(relative=["start_up", "peak"])
    baseline = made_baseline(wanted)
    lab = lab_at(2.0)
    assert gate(wanted, lab, baseline=baseline).verdict == "passed"
    lab.starts = FakeSessions(start_up=60.0, peak=120.0)
    report = gate(wanted, lab, baseline=baseline)
    assert {(r.metric, r.status) for r in report.results} == {
        ("start_up", "failed"),
        ("peak", "failed"),
    }


def test_a_baseline_of_noise_is_none() -> None:
    setting = Setting("b.toml", [1], MACHINE, Baseline(), "b.json", update=True)
    report, _ = run_gate(budgets(baseline_sittings=4), lab_at(2.0, spread=0.4), setting)
    assert report.exit_code == ExitCode.NO_VERDICT
    assert "too noisy for a baseline" in report.results[-1].reason


def test_records_of_other_machines_stay() -> None:
    wanted = budgets()
    both = made_baseline(wanted)
    other = made_baseline(wanted, machine=OTHER).records[0]
    both = both.renewed(other)
    assert len(both.records) == 2
    assert len(both.renewed(other).records) == 2
