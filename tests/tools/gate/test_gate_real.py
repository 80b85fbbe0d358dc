"""The parts that touch the machine: the reference, counters, one small run, the drill."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import MissingRuntimeError, UsageError
from attnc.compiler.progress import SILENT
from attnc.tools.gate.budget import COUNTERS, Budgets, load_budgets
from attnc.tools.gate.counters import count
from attnc.tools.gate.drill import SLOWER, calibrated, drilled, slower
from attnc.tools.gate.gate import Setting, run_gate
from attnc.tools.gate.lab import RealLab, check_peers
from attnc.tools.gate.reference import SHAPE, VERSION, reference_model, write_reference

GATE = Path(__file__).resolve().parent.parent.parent.parent / "tools" / "gate"


def test_the_reference_is_the_same_bytes_everywhere(tmp_path: Path) -> None:
    code = (
        "import hashlib; from attnc.tools.gate.reference import reference_model\n"
        "print(hashlib.sha256(reference_model()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(reference_model()).hexdigest()
    import onnxruntime

    session = onnxruntime.InferenceSession(write_reference(tmp_path))
    [output] = session.run(None, {"input": np.random.default_rng(0).random(SHAPE, np.float32)})
    assert np.isfinite(output).all()
    assert np.ptp(output) > 1e-3
    assert VERSION == 1


def test_counters_of_a_bundle(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    found = count(bundle)
    assert set(found) == {*COUNTERS, "fused_share"}
    assert found["nodes"] == sum(bundle.manifest.operators.values())
    assert found["file_bytes"] > found["model_bytes"] == (tiny_bundle / "model.onnx").stat().st_size
    assert 0 < found["kernels"] <= found["nodes"]
    assert found["flops"] > 0
    assert found == count(bundle)


def test_a_free_batch_leaves_arithmetic_out(tiny_bundle: Path, tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    sides = {"x": ["batch", 4], "w": [4, 4], "y": ["batch", 4]}
    x, w, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in sides.items())
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x, w], [y])
    save(helper.make_model(graph), tmp_path / "model.onnx")
    found = count(Bundle(tmp_path, Bundle.open(tiny_bundle).manifest))
    assert not {"flops", "traffic_bytes"} & set(found)
    assert found["nodes"] > 0


def test_one_small_run_with_everything(tiny_bundle: Path, tmp_path: Path) -> None:
    limits = {"latency_ms": 1000, "p99_ms": 5000, "latency_ratio": 500, "peak_mb": 5000}
    limits |= {"start_up_ms": 60000, "nodes": 1000, "fused_share": 0.1, "ratio_to": {"ort": 500}}
    method = {"sittings": 3, "most": 3, "rounds": 2, "burst": 2, "repeats": 3}
    case = {"name": "tiny", "bundle": tiny_bundle.name, "limits": limits}
    budgets = Budgets.model_validate({"gate": method, "case": [case]})
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "data"))
    try:
        with RealLab(budgets, tiny_bundle.parent, SILENT) as lab:
            setting = Setting("b.toml", [1], {"versions": {}, **_machine()})
            report, record = run_gate(budgets, lab, setting)
    finally:
        sys.path.pop(0)
    assert report.verdict == "passed", report.results
    assert report.cases[0].sittings == 3
    assert set(report.cases[0].values) >= {"p99_ms", "ratio_to_ort", "start_up_ratio", "peak_mb"}
    stored = {"latency_ratio", "ratio_to_ort", "start_up_ratio", "peak_mb"}
    assert set(record.cases["tiny"].timings) == stored


def _machine() -> dict[str, object]:
    return {"cpu": "x", "architecture": "x", "features": [], "cores": 1}


def test_parity_is_the_worst_of_all_checks() -> None:
    from attnc.runtimes.checks import Check
    from attnc.tools.gate.facts import parity_of

    checks = [
        Check("parity/a/kernels", "verified", 2e-6, 1e-3),
        Check("mlprogram.parity.fp16/a", "verified", 0.99999, 0.999),
        Check("mlprogram.parity.fp32/a", "verified", 3e-6, 1e-3),
        Check("top1/a", "verified", 1.0, 1.0),
    ]
    assert parity_of(checks) == (pytest.approx(1e-5), "")
    failed = Check("top1/b", "failed", 0.5, 1.0, "another class comes first")
    assert parity_of([*checks, failed])[1] == "top1/b: another class comes first"
    assert parity_of([Check("source", "not-verified")]) == (None, "")


def test_bundles_that_do_not_fit_their_case(tiny_bundle: Path) -> None:
    for case, says in (
        ({"target": "android"}, "the bundle is for cpu"),
        ({"batch": 3}, "the bundle has batch 2, the case 3"),
    ):
        wanted = {"name": "m", "bundle": tiny_bundle.name, **case}
        budgets = Budgets.model_validate({"case": [wanted]})
        with pytest.raises(UsageError, match=says), RealLab(budgets, tiny_bundle.parent, SILENT):
            pass


def test_peers_that_are_not_here_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    def wanted(peer: str) -> Budgets:
        case = {"name": "m", "model": "x", "limits": {"ratio_to": {peer: 1}}}
        return Budgets.model_validate({"case": [case]})

    with pytest.raises(UsageError, match="unknown runner 'otr'"):
        check_peers(wanted("otr").case)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "openvino" else find(name)
    )
    with pytest.raises(MissingRuntimeError, match="m has a limit against openvino"):
        check_peers(wanted("openvino").case)


def test_the_drill_slows_down_and_only_on_request(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = drilled(Bundle.open(tiny_bundle), tmp_path / "drilled")
    library = next((bundle.path / "kernels").iterdir())
    assert SLOWER.encode() in library.read_bytes()
    own = next((tiny_bundle / "kernels").iterdir())
    assert b"ATTNC_DRILL" not in own.read_bytes()
    per_mille, measured = calibrated(bundle, 1.0)
    assert per_mille > 100
    assert measured > 0.3


def test_a_slow_down_ends_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.delenv(SLOWER, raising=False)
    with slower(50):
        assert os.environ[SLOWER] == "50"
    assert SLOWER not in os.environ


def test_our_own_budgets_can_be_read() -> None:
    budgets = load_budgets(GATE / "nano.toml")
    assert len(budgets.case) == 5
    assert {case.target for case in budgets.case} == {"cpu"}


@pytest.mark.slow
def test_the_trial_runs(tmp_path: Path) -> None:
    output = tmp_path / "trial.json"
    command = [sys.executable, "-m", "attnc.tools.gate.trial", "--runs", "1", "--sittings", "3"]
    done = subprocess.run([*command, "-o", str(output)], capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    document = json.loads(output.read_text(encoding="utf-8"))
    assert document["runs"] == {"unchanged": 1, "slowed": 1}
    shutil.rmtree(tmp_path)
