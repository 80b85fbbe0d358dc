"""What is done with a Core ML bundle once it is there: run, bench, mil, explain, list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import attnc
from attnc.compiler.bundle import Bundle

pytest.importorskip("coremltools")
pytestmark = pytest.mark.usefixtures("importable_data")

DATA = str(Path(__file__).resolve().parents[2] / "data")
MISSING = 4


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DATA)
        output = tmp_path_factory.mktemp("coreml") / "b"
        attnc.export("tiny_net:build", output=output, target="coreml", profile="iphone12")
    return output


def noise(path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(values).save(path)
    return path


def test_run_shows_the_best_classes(cli: Any, bundle: Path, tmp_path: Path) -> None:
    import torch
    from tiny_net import build

    from attnc.runtimes.preprocess import load_picture, preprocess

    picture = noise(tmp_path / "a.png")
    rule = Bundle.open(bundle).manifest.preprocessing
    assert rule is not None
    with torch.no_grad():
        logits = build()(torch.from_numpy(preprocess(load_picture(picture), rule)))[0]
    best = logits.argsort(descending=True).tolist()[:3]
    done = cli("run", bundle, picture, "--top", "3", "--json", "-")
    assert done.code == 0, done.err
    assert [row["class"] for row in json.loads(done.out)["top"]] == best
    assert "not by Core ML" in done.err
    shown = cli("run", bundle, picture, "--top", "1")
    assert str(best[0]) in shown.out
    assert "probability" in shown.out


def test_bench_needs_a_mac(cli: Any, bundle: Path) -> None:
    done = cli("bench", bundle)
    assert done.code == MISSING
    assert done.out == ""
    assert "macOS only" in done.err
    assert "attnc verify" in done.err


def timed(units: str, median: float, ratio: dict[str, float]) -> dict[str, Any]:
    interval = {name: [value - 0.01, value + 0.01] for name, value in ratio.items()}
    times = {"median_ms": median, "p90_ms": median + 0.1, "p99_ms": median + 0.2}
    return {"runner": units, **times, "n": 60, "ratio_to": ratio, "ratio_interval": interval}


def test_bench_prints_the_units_in_turn(
    cli: Any, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def measure(package: Path, units: Any, effort: Any, **_: Any) -> dict[str, Any]:
        asked.append((package, units, effort.sittings))
        return {
            "results": [timed("all", 1.25, {"cpu": 0.61}), timed("cpu", 2.05, {})],
            "left_out": [{"runner": "cpu-and-ne", "reason": "no beads"}],
            "device": {"chip": "M7", "macos": "15.0"},
        }

    monkeypatch.setattr("attnc.runtimes.coreml.device_latency.measure_units", measure)
    file = tmp_path / "report.json"
    how = ["--against", "cpu,cpu-and-ne", "--sittings", "2", "--json", file]
    done = cli("bench", bundle, *how)
    assert done.code == 0, done.err
    assert asked == [(bundle / "model.mlpackage", ("all", "cpu", "cpu-and-ne"), 2)]
    for text in ("M7", "1.250", "2.050", "0.610 [0.600, 0.620]"):
        assert text in done.out
    assert "not timed: cpu-and-ne: no beads" in done.err
    assert json.loads(file.read_text())["precision"] == "fp16"


def test_mil_names_modules_and_counts_what_the_manifest_counts(cli: Any, bundle: Path) -> None:
    entry = Bundle.open(bundle).manifest.coreml
    assert entry is not None
    listed = json.loads(cli("mil", bundle, "--json", "-").out)["operations"]
    kinds = [line["kind"] for line in listed]
    assert {kind: kinds.count(kind) for kind in kinds} == entry.operations
    assert json.loads(cli("mil", bundle, "--lint", "--json", "-").out)["counts"] == entry.placement
    summary = json.loads(cli("mil", bundle, "--summary", "--json", "-").out)["summary"]
    assert summary["opset"] == entry.ios == 16


def test_explain(cli: Any) -> None:
    done = cli("explain", "tiny_sparse:build", "--target", "coreml", "--json", "-")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert (document["target"], document["not_lowered"]) == ("coreml", [])
    matches = {entry["name"]: entry["matches"] for entry in document["passes"]}
    assert matches["fuse_sparse_attention"] == 2


def test_targets_and_profiles_are_listed(cli: Any) -> None:
    targets = json.loads(cli("list", "targets", "--json", "-").out)
    assert "Core ML" in {entry["name"]: entry["description"] for entry in targets}["coreml"]
    profiles = [line.split("\t") for line in cli("list", "profiles").out.splitlines()]
    ours = {name for name, text in profiles if text.startswith("coreml:")}
    assert {"iphone12", "iphone15", "iphone17", "m1", "m4"} <= ours
