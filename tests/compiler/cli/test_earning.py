"""Fused operators earn their place: what is measured, kept, recorded. No test looks at a speed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import attnc
from attnc.compiler.bundle import READINGS_FILE, Bundle
from attnc.compiler.cache import cache_folder
from attnc.runtimes import earning
from attnc.runtimes.earning import Timing

pytestmark = pytest.mark.usefixtures("importable_data")

PICTURE = {"input": np.random.default_rng(0).standard_normal((1, 3, 24, 24)).astype(np.float32)}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[bytes]:
    """Measuring is on, with a cache of its own, and finds every body faster."""
    models: list[bytes] = []

    def time_forms(model: bytes, *_: Any) -> Timing:
        models.append(model)
        return Timing(2.0, 1.0, fused=False)

    monkeypatch.setattr(earning, "time_forms", time_forms)
    monkeypatch.setenv("ATTNC_MEASURE", "1")
    monkeypatch.setenv("ATTNC_CACHE", str(tmp_path / "cache"))
    return models


def logits(path: Path) -> Any:
    with attnc.open(path) as runner:
        return runner.run(PICTURE)["logits"]


def test_a_faster_body_takes_the_place_and_is_recorded(asked: list[bytes], tmp_path: Path) -> None:
    first = attnc.export("tiny_net:build", output=tmp_path / "a")
    assert not any("attnc" in name for name in first.manifest.operators)
    assert first.manifest.operators["Conv"] == 1
    assert [verdict.verdict for verdict in first.manifest.verdicts] == ["body"] * len(asked)
    assert first.readings()["verdicts"][0]["fused_us"] == 2.0
    plain = attnc.export("tiny_net:build", output=tmp_path / "b", measure=False)
    assert any("attnc" in name for name in plain.manifest.operators)
    assert {verdict.verdict for verdict in plain.manifest.verdicts} == {"not measured"}
    assert plain.manifest.verdicts[0].reason == "measuring was switched off"
    np.testing.assert_allclose(logits(tmp_path / "a"), logits(tmp_path / "b"), atol=1e-5)


def test_the_next_export_finds_the_verdicts_and_gives_the_same_bytes(
    asked: list[bytes], tmp_path: Path
) -> None:
    attnc.export("tiny_net:build", output=tmp_path / "a")
    measured = len(asked)
    assert measured > 0
    attnc.export("tiny_net:build", output=tmp_path / "b")
    assert len(asked) == measured
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file() and path.name != READINGS_FILE:
            assert (
                path.read_bytes()
                == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
            )


def test_a_damaged_cache_is_measured_again(asked: list[bytes], tmp_path: Path) -> None:
    attnc.export("tiny_net:build", output=tmp_path / "a")
    measured = len(asked)
    for path in (cache_folder() / "verdicts").iterdir():
        path.write_text("{")
    attnc.export("tiny_net:build", output=tmp_path / "b")
    assert len(asked) == 2 * measured


def test_nothing_is_measured_for_other_machines(asked: list[bytes], tmp_path: Path) -> None:
    bodies = attnc.export("tiny_net:build", output=tmp_path / "a", kernels=False)
    assert asked == []
    assert bodies.manifest.verdicts[0].reason == "the bundle has no kernels"


def test_the_command_says_what_runs_as_its_body(
    cli: Any, asked: list[bytes], tmp_path: Path
) -> None:
    done = cli("export", "tiny_net:build", "-o", tmp_path / "a")
    assert "faster as standard operators: " in done.err
    done = cli("export", "tiny_net:build", "-o", tmp_path / "b", "--no-measure", "--json", "-")
    assert "faster as" not in done.err
    assert json.loads(done.out)["manifest"]["verdicts"][0]["verdict"] == "not measured"


@pytest.mark.parametrize(
    ("ratios", "fused", "rounds"),
    [
        ([0.5], True, 3),
        ([1.04], True, 3),
        ([1.2], False, 33),
        ([1.2, 1.2, 1.2, 0.9, 1.2, 0.9, 1.2, 1.2, 1.2, 1.2, 1.2], False, 33),
        ([1.2, 0.9, 1.2, 0.9, 1.2, 0.9], True, 6),
        ([*[1.2] * 11, 0.9, 0.9, 0.9], True, 14),
    ],
)
def test_the_body_must_win_clearly_and_nearly_always(
    monkeypatch: pytest.MonkeyPatch, ratios: list[float], fused: bool, rounds: int
) -> None:
    turns: list[float] = []

    def seconds(call: str, *_: Any) -> float:
        if call == "body":
            return 1.0
        turns.append(ratios[len(turns) % len(ratios)])
        return turns[-1]

    monkeypatch.setattr(
        earning, "_caller", lambda model, feed, library: "fused" if library else "body"
    )
    monkeypatch.setattr(earning, "_seconds", seconds)
    timing = earning.time_forms(bytes(earning.COLD + 1), [], Path("library"))
    assert (timing.fused, len(turns)) == (fused, rounds)


def test_real_operators_can_be_timed_alone(shvit_bundle: Path) -> None:
    from attnc.compiler.ops.alone import alone
    from attnc.runtimes.cpu.library import library_path

    model = ir.load(Bundle.open(shvit_bundle).model_path)
    fused = {node.op_type: node for node in model.graph if node.domain == "attnc"}
    assert len(fused) > 3
    for node in fused.values():
        lone = alone(node)
        assert lone is not None
        timing = earning.time_forms(lone.serialized(), lone.inputs, library_path())
        assert timing.fused_us > 0
        assert timing.body_us > 0


def test_equal_nodes_have_one_key(shvit_bundle: Path) -> None:
    from attnc.compiler.ops.alone import alone

    model = ir.load(Bundle.open(shvit_bundle).model_path)
    keys = [lone.key for node in model.graph if node.domain == "attnc" and (lone := alone(node))]
    assert 10 < len(set(keys)) < len(keys)
