"""The commands when all is well: what they print, and what their JSON holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import attnc
from attnc.compiler.bundle import Bundle

pytestmark = pytest.mark.usefixtures("importable_data")


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from attnc.compiler.cli.main import app\n"
        "try:\n"
        "    app(['--help'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'onnx_ir', 'pydantic', 'PIL'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"
    for command in ("export", "verify", "bench", "run", "explain", "mil", "list", "doctor"):
        assert command in done.stdout


@pytest.mark.parametrize(
    "command", ["export", "verify", "bench", "run", "explain", "mil", "list", "doctor"]
)
def test_every_command_explains_itself(cli: Any, command: str) -> None:
    done = cli(command, "--help")
    assert done.code == 0
    assert len(done.out) > 200
    assert done.err == ""


def test_version(cli: Any) -> None:
    assert cli("--version").out.split() == ["attnc", attnc.__version__]


def test_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "attnc", "--version"], capture_output=True, text=True, check=True
    )
    assert attnc.__version__ in done.stdout


@pytest.mark.parametrize(
    ("kind", "member"),
    [
        ("models", "shvit_s4"),
        ("passes", "fuse_single_head_attention"),
        ("operators", "FeedForwardNhwc"),
        ("targets", "cpu"),
        ("profiles", "native"),
    ],
)
def test_list(cli: Any, kind: str, member: str) -> None:
    lines = cli("list", kind).out.splitlines()
    assert member in [line.split("\t")[0] for line in lines]
    assert all(line.split("\t")[1] for line in lines)
    listed = json.loads(cli("list", kind, "--json", "-").out)
    assert [entry["name"] for entry in listed] == [line.split("\t")[0] for line in lines]


def test_export_writes_a_bundle_and_its_report(cli: Any, tmp_path: Path) -> None:
    options = ["-o", tmp_path / "out", "--image-size", "32x16", "--batch", "3", "--no-kernels"]
    done = cli("export", "tiny_net:build", *options, "--option", "num_classes=4", "--json", "-")
    assert done.code == 0, done.err
    manifest = json.loads(done.out)["manifest"]
    assert manifest["inputs"][0]["shape"] == [3, 3, 32, 16]
    assert manifest["outputs"][0]["shape"] == [3, 4]
    assert manifest["kernels"] == []
    assert not (tmp_path / "out" / "kernels").exists()
    for stage in ("tracing", "rewriting", "packing", "recording"):
        assert stage in done.err


def test_verify_with_kernels_and_bodies(cli: Any, shvit_bundle: Path) -> None:
    done = cli("verify", shvit_bundle, "--json", "-")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert set(report) == {"bundle", "ok", "checks", "outputs", "output_units"}
    assert report["bundle"]["digest"] == Bundle.open(shvit_bundle).manifest.digest
    assert report["ok"] is True
    names = {check["name"] for check in report["checks"] if check["status"] == "verified"}
    for mode in ("kernels", "bodies"):
        assert f"parity/recorded-seed0/{mode}" in names
        assert f"parity/source-seed11-batch3/{mode}" in names
        assert f"top1/photo-china/{mode}" in names
        assert f"parity/photo-flower/{mode}" in names


def test_verify_table_and_file(cli: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    done = cli("verify", tiny_bundle, "--json", tmp_path / "report.json")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "report.json").read_text())
    for check in report["checks"]:
        assert check["name"] in done.out


def test_verify_takes_a_folder_of_photographs(cli: Any, shvit_bundle: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    done = cli("verify", shvit_bundle, "--images", tmp_path, "--json", "-")
    names = {check["name"] for check in json.loads(done.out)["checks"]}
    assert "top1/photo-noise/kernels" in names
    assert not any("china" in name for name in names)
    (tmp_path / "noise.png").unlink()
    assert cli("verify", shvit_bundle, "--images", tmp_path).code == 2


def test_run_shows_the_best_classes(cli: Any, shvit_bundle: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    done = cli("run", shvit_bundle, tmp_path / "a.png", "--top", "3", "--json", "-")
    rows = json.loads(done.out)["top"]
    assert len(rows) == 3
    probabilities = [row["probability"] for row in rows]
    assert probabilities == sorted(probabilities, reverse=True)
    bodies = cli("run", shvit_bundle, tmp_path / "a.png", "--top", "3", "--no-kernels")
    assert bodies.code == 0
    assert str(rows[0]["class"]) in bodies.out


def test_run_uses_the_labels(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("".join(f"thing-{index}\n" for index in range(10)))
    options = ["-o", tmp_path / "out", "--labels", tmp_path / "labels"]
    assert cli("export", "tiny_net:build", *options).code == 0
    Image.new("RGB", (40, 30), (200, 30, 90)).save(tmp_path / "a.png")
    done = cli("run", tmp_path / "out", tmp_path / "a.png", "--top", "99", "--json", "-")
    rows = json.loads(done.out)["top"]
    assert len(rows) == 10
    assert all(row["label"] == f"thing-{row['class']}" for row in rows)
    assert sum(row["probability"] for row in rows) == pytest.approx(1)


def test_explain(cli: Any) -> None:
    done = cli("explain", "shvit_s1", "--target", "cpu", "--image-size", "64", "--json", "-")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert (document["model"], document["target"]) == ("shvit_s1", "cpu")
    passes = {entry["name"]: entry for entry in document["passes"]}
    attention = passes["fuse_single_head_attention"]
    assert attention["matches"] == 9
    assert attention["nodes_after"] < attention["nodes_before"]
    for entry in document["passes"]:
        for miss in entry["near_misses"]:
            assert set(miss) == {"node", "module", "source", "reason"}


def test_explain_for_people_shows_near_misses(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from attnc.compiler.cli import api
    from attnc.compiler.pipeline import NearMiss, PassRecord

    miss = NearMiss("Conv conv_7", "blocks1.0", "net.py:12", "k is not a constant")
    record = PassRecord("fuse_x", "why", 2, (miss,), 10, 8, "0" * 64, 0.1)
    found = api.Explanation("net", "cpu", (record,), ())
    monkeypatch.setattr(api, "explain", lambda *_, **__: found)
    done = cli("explain", "net")
    for text in ("fuse_x", "k is not a constant", "Conv conv_7", "blocks1.0", "net.py:12"):
        assert text in done.out


def test_doctor_is_content_here(cli: Any) -> None:
    done = cli("doctor", "--json", "-")
    report = json.loads(done.out)
    assert done.code == 0, report
    assert report["ok"]
    found = {finding["name"]: finding["status"] for finding in report["findings"]}
    assert found["kernel library"] == "ok"
    assert found["torch"] == "ok"


def test_doctor_misses_a_library(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from attnc.runtimes.cpu import library

    monkeypatch.setattr(library, "LIBRARIES", Path("/nowhere"))
    done = cli("doctor")
    assert done.code == 4
    assert "not built" in done.out


def test_debug_shows_the_traceback() -> None:
    command = [sys.executable, "-m", "attnc", "--debug", "verify", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" in done.stderr
