"""Bundles: the same bytes every time, whole, checked on opening, and readable without attnc."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnc
from attnc.compiler.bundle import READINGS_FILE, Bundle
from attnc.compiler.errors import ParityError, UnsupportedError, UsageError
from attnc.compiler.manifest import content_digest

pytestmark = pytest.mark.usefixtures("importable_data")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != READINGS_FILE
    }


def edit_manifest(folder: Path, change: dict[str, Any], *, seal: bool = True) -> None:
    path = folder / "manifest.json"
    document = {**json.loads(path.read_text()), **change}
    if seal:
        document["digest"] = content_digest(document)
    path.write_text(json.dumps(document))


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def test_twice_the_same_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    attnc.export("tiny_net:build", output=tmp_path / "again", batch=2)
    first, second = contents(tiny_bundle), contents(tmp_path / "again")
    assert first == second
    assert "model.onnx" in first


def test_shvit_twice_the_same_bytes_in_another_process(shvit_bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "again"
    command = ["export", "shvit_s1", "-o", str(output), "--image-size", "64", "--batch", "dynamic"]
    subprocess.run([sys.executable, "-m", "attnc", *command], check=True, capture_output=True)
    assert contents(shvit_bundle) == contents(output)


def test_manifest_says_what_is_in_the_bundle(shvit_bundle: Path) -> None:
    manifest = Bundle.open(shvit_bundle).manifest
    assert (manifest.model, manifest.target, manifest.batch) == ("shvit_s1", "cpu", "dynamic")
    assert manifest.inputs[0].shape == ("batch", 3, 64, 64)
    assert manifest.inputs[0].dtype == manifest.outputs[0].dtype == "float32"
    assert {entry.path for entry in manifest.files} == set(contents(shvit_bundle)) - {
        "manifest.json"
    }
    assert manifest.kernels
    assert manifest.opset <= 20
    assert manifest.ir_version <= 9
    matched = {entry.name: entry.matches for entry in manifest.passes if entry.matches}
    assert matched["fuse_single_head_attention"] == 9
    assert manifest.source.seed == 0
    assert manifest.source.rebuildable
    readings = Bundle.open(shvit_bundle).readings()
    assert set(readings["seconds"]) == {"trace", "passes", "emit", "reference"}


def test_nothing_of_this_machine_is_in_the_hashed_files(shvit_bundle: Path) -> None:
    home = str(Path(__file__).resolve().parent.parent.parent).encode()
    for name, data in contents(shvit_bundle).items():
        if not name.startswith("kernels/"):
            assert home not in data, name
            assert str(shvit_bundle.parent).encode() not in data, name


def test_edited_file_is_named(copy: Path) -> None:
    data = bytearray((copy / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.onnx").write_bytes(data)
    with pytest.raises(UsageError, match=r"model\.onnx is not the file"):
        attnc.open(copy)


@pytest.mark.parametrize("name", ["model.onnx", "README.md", "reference/seed0.npy"])
def test_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(UsageError, match=f"{name} is missing"):
        Bundle.open(copy)


def test_edited_manifest_is_named(copy: Path) -> None:
    edit_manifest(copy, {"model": "better"}, seal=False)
    with pytest.raises(UsageError, match=r"manifest\.json was edited"):
        Bundle.open(copy)


def test_newer_manifest_is_refused(copy: Path) -> None:
    edit_manifest(copy, {"version": 2})
    with pytest.raises(UnsupportedError, match="version 2"):
        Bundle.open(copy)


def test_readings_may_change_or_go(copy: Path) -> None:
    (copy / READINGS_FILE).write_text("{}")
    Bundle.open(copy)
    (copy / READINGS_FILE).unlink()
    assert Bundle.open(copy).readings() == {}


def test_a_file_and_nothing_are_no_bundles(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="a bundle is a folder"):
        Bundle.open(tmp_path / "file")
    with pytest.raises(UsageError, match="no bundle at"):
        Bundle.open(tmp_path / "none")


def test_python_lines_of_the_readme_run_without_attnc(shvit_bundle: Path) -> None:
    text = (shvit_bundle / "README.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert "register_custom_ops_library" in lines
    block = "import sys\nsys.modules['attnc'] = None\n"
    after = "\nassert logits.shape == (1, 1000), logits.shape\nprint(float(logits[0, 0]))\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", block + lines + after],
        cwd=shvit_bundle,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with attnc.open(shvit_bundle) as runner:
        zeros = np.zeros((1, 3, 64, 64), np.float32)
        logits = runner.run({"input": zeros})["logits"]
    assert float(done.stdout) == pytest.approx(float(logits[0, 0]), rel=1e-6)


def test_readme_of_several_libraries_picks_by_machine(shvit_bundle: Path) -> None:
    from attnc.compiler.bundle_readme import bundle_readme
    from attnc.compiler.manifest import KernelLibrary

    manifest = Bundle.open(shvit_bundle).manifest
    other = KernelLibrary(path="kernels/other.so", target="linux-riscv64")
    both = manifest.model_copy(update={"kernels": (other, *manifest.kernels)})
    (lines,) = re.findall(r"```python\n(.*?)```", bundle_readme(both), flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-I", "-c", lines], cwd=shvit_bundle, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_module_from_python(tmp_path: Path) -> None:
    from tiny_net import build

    from attnc.compiler.cli.api import rebuild_reference

    module = build()
    module.train()
    bundle = attnc.export(module, output=tmp_path / "b", target="cpu", batch=1)
    assert module.training
    assert bundle.manifest.source.kind == "module"
    with attnc.open(bundle.path) as runner:
        x = np.random.default_rng(0).standard_normal((1, 3, 24, 24)).astype(np.float32)
        logits = runner.run({"input": x})["logits"]
    import torch

    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UnsupportedError, match="handed over as a module"):
        rebuild_reference(bundle)


def test_labels_go_along(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"class {index}\n" for index in range(10)))
    bundle = attnc.export("tiny_net:build", output=tmp_path / "b", labels=labels)
    assert bundle.labels == [f"class {index}" for index in range(10)]
    labels.write_text("one\n")
    with pytest.raises(UsageError, match="names 1 classes, the model has 10"):
        attnc.export("tiny_net:build", output=tmp_path / "c", labels=labels)
    assert not (tmp_path / "c").exists()


def test_what_cannot_be_a_bundle_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="2 outputs"):
        attnc.export("tiny_net:build_two_outputs", output=tmp_path / "b")
    with pytest.raises(ParityError, match="NaN"):
        attnc.export("tiny_net:build_not_finite", output=tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_float32_only_source_is_recorded_in_float32(tmp_path: Path) -> None:
    bundle = attnc.export("tiny_net:build_float32_only", output=tmp_path / "b")
    assert np.load(bundle.path / "reference/seed0.npy").dtype == np.float32
