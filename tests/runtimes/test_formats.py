"""The other formats of a bundle: refusals by default, and the real converters where they are."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnc.compiler.bundle import Bundle
from attnc.compiler.cli.bench import _with_own_formats
from attnc.compiler.errors import AttncError, MissingRuntimeError, UnsupportedError, UsageError
from attnc.compiler.manifest import content_digest
from attnc.runtimes.attnc_runner import timed_library
from attnc.runtimes.cpu.library import library_path
from attnc.runtimes.executorch_runner import ExecutorchRunner
from attnc.runtimes.formats import FORMATS, require
from attnc.runtimes.litert_runner import LitertRunner

pytestmark = pytest.mark.usefixtures("importable_data")
EXPORT = ("export", "tiny_net:build", "--target", "android")


def absent(name: str) -> bool:
    entry = next(entry for entry in FORMATS if entry.name == name)
    return any(importlib.util.find_spec(module) is None for module, _ in entry.packages)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Android bundle of ONNX files only."""
    import attnc

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))
    try:
        folder = tmp_path_factory.mktemp("formats") / "plain"
        attnc.export("tiny_net:build", target="android", output=folder)
    finally:
        sys.path.pop(0)
    return folder


@pytest.fixture
def claiming(plain: Path, tmp_path: Path) -> Path:
    """The bundle with files of both formats that are none, listed as if they had been exported."""
    copy = shutil.copytree(plain, tmp_path / "claiming")
    path = copy / "manifest.json"
    document = json.loads(path.read_text())
    document["formats"] = [
        {"format": name, "model": f"model.{name}", "converters": {}} for name in ("tflite", "pte")
    ]
    for name in ("tflite", "pte"):
        (copy / f"model.{name}").write_bytes(b"no model")
    document["digest"] = content_digest(document)
    path.write_text(json.dumps(document))
    return copy


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--format", "coffee"], 2, "one of: onnx, tflite, pte"),
        (["--format", ""], 2, "--format is empty"),
        (["--format", "tflite", "--target", "cpu"], 2, "--target android or arm64"),
    ],
)
def test_what_cannot_be_asked_for(
    cli: Any, tmp_path: Path, options: list[str], code: int, words: str
) -> None:
    done = cli(*EXPORT, *options, "-o", tmp_path / "b")
    assert done.code == code
    assert words in done.err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("entry", FORMATS, ids=lambda entry: entry.name)
def test_a_missing_converter_is_told(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Any
) -> None:
    monkeypatch.setitem(sys.modules, entry.packages[0][0], None)
    with pytest.raises(MissingRuntimeError, match="is not installed"):
        require(entry)
    done = cli(*EXPORT, "--format", entry.name, "-o", tmp_path / "b")
    assert done.code == 4
    assert f"attnc[{entry.extra}]" in done.err
    assert not (tmp_path / "b").exists()


def test_a_free_batch_is_refused(tmp_path: Path) -> None:
    from attnc.compiler.cli.emit_formats import FormatsEmitter
    from attnc.compiler.trace import trace

    inner: Any = type("Inner", (), {"stage": "nothing"})()
    traced = trace("tiny_net:build", batch="dynamic")
    with pytest.raises(UnsupportedError, match="one batch size") as caught:
        FormatsEmitter(inner, FORMATS).emit(traced, tmp_path, None)  # type: ignore[arg-type]
    assert "--batch N" in caught.value.remedy


def test_onnx_is_always_written(plain: Path, cli: Any, tmp_path: Path) -> None:
    assert cli(*EXPORT, "--format", "onnx", "-o", tmp_path / "b").code == 0
    assert Bundle.open(tmp_path / "b").manifest == Bundle.open(plain).manifest


@pytest.mark.parametrize("runner", [LitertRunner, ExecutorchRunner])
def test_a_bundle_without_the_format(plain: Path, runner: Any) -> None:
    with pytest.raises(UsageError, match=f"no model.{runner.kind}") as caught:
        runner.of_bundle(Bundle.open(plain), 1)
    assert f"--format {runner.kind}" in caught.value.remedy


def test_verify_says_what_is_missing_or_broken(
    cli: Any, claiming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("ai_edge_litert.interpreter", "executorch.extension.pybindings"):
        monkeypatch.setitem(sys.modules, module, None)
    done = cli("verify", claiming, "--json", "-")
    checks = {check["name"]: check for check in json.loads(done.out)["checks"]}
    assert done.code == 0  # the ONNX files were verified
    for name, extra in (("tflite", "litert"), ("pte", "executorch")):
        assert checks[f"format/{name}"]["status"] == "not-verified"
        assert f"attnc[{extra}]" in checks[f"format/{name}"]["reason"]


def test_bench_adds_the_bundles_own_files(plain: Path, claiming: Path) -> None:
    asked = ("ort", "litert", "executorch")
    assert _with_own_formats(asked, Bundle.open(plain)) == asked
    found = _with_own_formats(asked, Bundle.open(claiming))
    assert found == ("ort", "litert", "attnc-tflite", "executorch", "attnc-pte")


def test_bench_times_this_machines_kernels_for_a_phones(plain: Path) -> None:
    bundle = Bundle.open(plain)
    assert timed_library(bundle) in (library_path(), bundle.kernel_library("linux-aarch64"))


@pytest.mark.parametrize("entry", FORMATS, ids=lambda entry: entry.name)
def test_real_conversion_runs_and_repeats(cli: Any, tmp_path: Path, entry: Any) -> None:
    if absent(entry.name):
        pytest.skip(f"needs attnc[{entry.extra}]: gigabytes, not among the tests' packages")
    for name in ("a", "b"):
        done = cli(*EXPORT, "--format", entry.name, "-o", tmp_path / name)
        assert done.code == 0, done.err
    first, second = (Bundle.open(tmp_path / name) for name in ("a", "b"))
    assert first.manifest == second.manifest
    assert [held.format for held in first.manifest.formats] == [entry.name]
    done = cli("verify", tmp_path / "a", "--json", "-")
    checks = {check["name"]: check["status"] for check in json.loads(done.out)["checks"]}
    assert checks[f"parity/recorded-seed0/{entry.name}"] == "verified"
    assert checks[f"top1/photo-china/{entry.name}"] == "verified"
    with entry.runner_class.of_bundle(first, 1) as runner:
        shape = first.manifest.inputs[0].shape
        array = np.random.default_rng().standard_normal(shape).astype(np.float32)
        assert runner.run({"input": array})["logits"].shape == (1, 10)
    broken = tmp_path / "a" / f"model.{entry.name}"
    broken.write_bytes(b"no model")
    runner = entry.runner_class.of_bundle(first, 1)
    with runner, pytest.raises((AttncError, RuntimeError)):
        runner.run({"input": array})
