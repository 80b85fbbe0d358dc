"""`attnc` on web bundles: export, verify, run, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli
from PIL import Image

import attnc
from attnc.compiler.bundle import Bundle

pytest.importorskip("wasmtime")
MODELS = {
    "shvit_s1": {"image_size": 64},
    "evit_tiny_k070": {},
    "deit_tiny": {},
    "tic_tiny": {"image_size": 64},
    "glnet_stl": {},
    "sparsifiner_s": {},
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "s1"
    attnc.export("shvit_s1", target="web", output=folder, image_size=64)
    return folder


def test_what_is_in_the_bundle(bundle: Path) -> None:
    names = {entry.path for entry in Bundle.open(bundle).manifest.files}
    assert {"model.onnx", "web/program.bin", "web/weights.bin", "web/plan.json"} <= names
    assert {"web/engine.js", "web/engine-simd.wasm", "web/engine-relaxed-threads.wasm"} <= names
    manifest = Bundle.open(bundle).manifest
    assert manifest.web is not None
    assert manifest.web.steps["attnc.FeedForwardNhwc"] > 0
    assert "onnxruntime-web" in (bundle / "README.md").read_text()


def test_a_second_export_is_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    attnc.export("shvit_s1", target="web", output=tmp_path / "again", image_size=64)
    first = Bundle.open(bundle).manifest
    assert Bundle.open(tmp_path / "again").manifest.digest == first.digest


def test_verify_runs_both_builds(cli: Cli, bundle: Path) -> None:
    done = cli("verify", str(bundle), "--json", "-")
    assert done.code == 0, done.err
    names = {check["name"] for check in json.loads(done.out)["checks"]}
    assert {"parity/recorded-seed0/engine-relaxed", "parity/recorded-seed0/engine-simd"} <= names


def test_run_by_the_engine_and_by_onnx_runtime(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng().integers(0, 256, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    tops = []
    for more in ((), ("--no-kernels",)):
        done = cli("run", str(bundle), str(tmp_path / "p.png"), "--json", "-", *more)
        assert done.code == 0, done.err
        tops.append(json.loads(done.out)["top"])
    assert [row["class"] for row in tops[0]] == [row["class"] for row in tops[1]]
    done = cli("run", str(bundle), str(tmp_path / "p.png"), "--threads", "2")
    assert done.code == 2
    assert "one thread" in done.err


def test_half_weights_are_half_the_bytes(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    done = cli(
        *("export", "shvit_s1", "--target", "web", "--image-size", "64"),
        *("--precision", "fp16w", "-o", str(half)),
    )
    assert done.code == 0, done.err
    sizes = [(folder / "web" / "weights.bin").stat().st_size for folder in (half, bundle)]
    assert sizes[0] < 0.51 * sizes[1]
    assert cli("verify", str(half)).code == 0


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (("--precision", "int8w"), 2, "no precision 'int8w'"),
        (("--batch", "dynamic"), 3, "not a dynamic batch"),
        (("--profile", "pixel8"), 2, "unknown profile"),
        (("--metadata", "a=b"), 2, "no place for metadata"),
    ],
)
def test_exports_that_are_refused(
    options: tuple[str, ...], code: int, text: str, cli: Cli, tmp_path: Path
) -> None:
    done = cli(
        *("export", "shvit_s1", "--target", "web", "--image-size", "64"),
        *("-o", str(tmp_path / "out"), *options),
    )
    assert (done.code, text in done.err) == (code, True), done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [("--batch", "2"), ("--patience", "3"), ("--against", "torch")])
def test_benches_that_are_refused(options: tuple[str, ...], cli: Cli, bundle: Path) -> None:
    done = cli("bench", str(bundle), *options)
    assert done.code == 2, done.err


def test_an_engine_that_is_not_built(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attnc.runtimes.web.files.HERE", tmp_path)
    done = cli("export", "shvit_s1", "--target", "web", "-o", str(tmp_path / "out"))
    assert done.code == 4
    assert "attnc.runtimes.web.build" in done.err


def test_a_changed_program_is_found(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bad")
    path = tmp_path / "bad" / "web" / "program.bin"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    assert cli("verify", str(tmp_path / "bad")).code == 2


def test_kinds_of_packages(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    done = cli("package", str(bundle), "--kind", "swiftpm", "-o", str(tmp_path / "p"))
    assert done.code == 2
    assert "--kind web" in done.err
    done = cli("package", str(bundle), "--kind", "web", "-o", str(tmp_path / "p"))
    assert done.code == 0, done.err
    assert (tmp_path / "p" / "index.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_family(model: str, cli: Cli, tmp_path: Path) -> None:
    attnc.export(model, target="web", output=tmp_path / "b", **MODELS[model])
    done = cli("verify", str(tmp_path / "b"), "--json", "-")
    assert done.code == 0, done.out
