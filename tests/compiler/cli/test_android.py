"""Bundles for Android and arm64 boards, from the command line: exported, verified, loaded."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

import attnc
from attnc.compiler.bundle import Bundle, file_sha256
from attnc.compiler.manifest import content_digest
from attnc.runtimes.cpu import library as libraries
from attnc.runtimes.cpu.library import host_target, library_path
from attnc.runtimes.ort_format import convert

pytestmark = pytest.mark.usefixtures("importable_data")

NOT_ARM = pytest.mark.skipif(
    host_target() == "linux-aarch64", reason="this machine loads the bundle's own library"
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One bundle per target; not to be changed."""
    folder = tmp_path_factory.mktemp("arm")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "data"))
    try:
        for target in ("android", "arm64"):
            attnc.export("tiny_net:build", target=target, output=folder / target)
    finally:
        sys.path.pop(0)
    return {target: folder / target for target in ("android", "arm64")}


def verdicts(done: Any) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(done.out)["checks"]}


def with_file(bundle: Path, copy: Path, name: str, data: bytes) -> Path:
    """A copy of the bundle with another file, listed as if it had been exported."""
    shutil.copytree(bundle, copy)
    (copy / name).write_bytes(data)
    path = copy / "manifest.json"
    document = json.loads(path.read_text())
    for entry in document["files"]:
        if entry["path"] == name:
            entry.update(sha256=file_sha256(copy / name), bytes=len(data))
    document["digest"] = content_digest(document)
    path.write_text(json.dumps(document))
    return copy


@pytest.mark.parametrize(
    ("target", "profile", "library"),
    [
        ("android", "pixel8", "attnc_kernels-android-aarch64.so"),
        ("arm64", "rpi5", "attnc_kernels-linux-aarch64.so"),
    ],
)
def test_export_twice_gives_the_same_bytes(
    cli: Any, tmp_path: Path, target: str, profile: str, library: str
) -> None:
    options = ["--target", target, "--profile", profile]
    for name in ("a", "b"):
        done = cli("export", "tiny_net:build", *options, "-o", tmp_path / name)
        assert done.code == 0, done.err
    first, second = (Bundle.open(tmp_path / name).manifest for name in ("a", "b"))
    assert first == second
    assert (first.target, first.profile) == (target, profile)
    paths = {entry.path for entry in first.files}
    assert {"model.onnx", "model.ort", "required_operators.config"} <= paths
    assert f"kernels/{library}" in paths
    assert first.ort_format is not None
    assert (first.ort_format.model, first.ort_format.operators) == (
        "model.ort",
        "required_operators.config",
    )


def test_list_of_operators_names_ours(exported: dict[str, Path]) -> None:
    lines = (exported["android"] / "required_operators.config").read_text().splitlines()
    listed = {name for line in lines if line[0] != "#" for name in line.split(";")[2].split(",")}
    assert {"StemConvNhwc", "PoolLinearNhwc"} <= listed
    assert not any(str(exported["android"]) in line for line in lines)


@NOT_ARM
@pytest.mark.parametrize("target", ["android", "arm64"])
def test_verify_with_this_machines_own_kernels(
    cli: Any, exported: dict[str, Path], target: str
) -> None:
    done = cli("verify", exported[target], "--json", "-")
    assert done.code == 0, done.err
    checks = verdicts(done)
    platform = {"android": "android-aarch64", "arm64": "linux-aarch64"}[target]
    assert checks[f"library/{platform}"]["status"] == "build-only"
    assert (f"library/{platform}/elf" in checks) == (target == "android")
    assert checks["kernels"]["status"] == "not-verified"
    wanted = [
        "parity/recorded-seed0/host-kernels",
        "parity/recorded-seed0/bodies",
        "top1/photo-china/host-kernels",
        "ort-format/parity",
        *(["library/android-aarch64/elf"] if target == "android" else []),
    ]
    assert [checks[name]["status"] for name in wanted] == ["verified"] * len(wanted)


@NOT_ARM
def test_without_own_kernels_the_ort_format_is_not_counted(
    cli: Any, exported: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "LIBRARIES", Path("/nowhere"))
    done = cli("verify", exported["android"], "--json", "-")
    checks = verdicts(done)
    assert checks["ort-format/parity"]["status"] == "not-verified"
    assert "not built" in checks["kernels"]["reason"]
    assert not any(name.endswith("/host-kernels") for name in checks)
    assert done.code == 0, "the bodies were verified"


def other_numbers(model: ir.Model) -> None:
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.const_value.dtype == ir.DataType.FLOAT:
            value.const_value = ir.tensor(value.const_value.numpy() * 1.01, name=value.name)


def other_name(model: ir.Model) -> None:
    model.graph.outputs[0].name = "classes"


@pytest.mark.parametrize(
    ("change", "said"), [(other_numbers, "over the limit"), (other_name, "inputs and outputs")]
)
def test_another_model_in_ort_format_fails(
    cli: Any,
    exported: dict[str, Path],
    tmp_path: Path,
    change: Callable[[ir.Model], None],
    said: str,
) -> None:
    model = ir.load(exported["android"] / "model.onnx")
    change(model)
    ir.save(model, tmp_path / "other.onnx")
    data = convert(tmp_path / "other.onnx", library_path())
    copy = with_file(exported["android"], tmp_path / "copy", "model.ort", data)
    done = cli("verify", copy, "--json", "-")
    assert done.code == 1
    check = verdicts(done)["ort-format/parity"]
    assert check["status"] == "failed"
    assert said in check["reason"]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def linux(data: bytes) -> bytes:
    return library_path("linux-aarch64").read_bytes()


@pytest.mark.parametrize(("change", "said"), [(cut, "no intact ELF"), (linux, "libc.so.6")])
def test_a_library_that_android_refuses_fails(
    cli: Any,
    exported: dict[str, Path],
    tmp_path: Path,
    change: Callable[[bytes], bytes],
    said: str,
) -> None:
    name = "kernels/attnc_kernels-android-aarch64.so"
    data = change((exported["android"] / name).read_bytes())
    copy = with_file(exported["android"], tmp_path / "copy", name, data)
    done = cli("verify", copy, "--json", "-")
    assert done.code == 1
    check = verdicts(done)["library/android-aarch64/elf"]
    assert check["status"] == "failed"
    assert said in check["reason"]


def test_without_kernels_the_bodies_are_in_the_ort_format(cli: Any, tmp_path: Path) -> None:
    options = ["--target", "android", "--no-kernels", "-o", tmp_path / "b"]
    assert cli("export", "tiny_net:build", *options).code == 0
    assert "attnc;" not in (tmp_path / "b" / "required_operators.config").read_text()
    assert "registerCustomOpLibrary" not in (tmp_path / "b" / "README.md").read_text()
    done = cli("verify", tmp_path / "b", "--json", "-")
    assert done.code == 0
    assert verdicts(done)["ort-format/parity"]["status"] == "verified"


@pytest.mark.slow
def test_operators_that_choose_are_checked_with_own_kernels(cli: Any, tmp_path: Path) -> None:
    options = ["--target", "android", "-o", tmp_path / "b"]
    assert cli("export", "small_sparsifiner:plain", *options).code == 0
    done = cli("verify", tmp_path / "b", "--json", "-")
    assert done.code == 0, done.out
    checks = verdicts(done)
    assert checks["choices/recorded-seed0/host-kernels"]["status"] == "verified"
    assert checks["ort-format/parity"]["status"] == "verified"


@NOT_ARM
def test_running_it_here_names_the_way_out(
    cli: Any, exported: dict[str, Path], tmp_path: Path
) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    done = cli("run", exported["android"], tmp_path / "a.png")
    assert done.code == 4
    assert "--no-kernels" in done.err
    assert cli("run", exported["android"], tmp_path / "a.png", "--no-kernels").code == 0


def test_a_precision_that_is_not_there_is_refused(cli: Any, tmp_path: Path) -> None:
    options = ["--target", "android", "--precision", "bf16", "-o", tmp_path / "b"]
    done = cli("export", "tiny_net:build", *options)
    assert done.code == 2
    assert "android has no precision 'bf16'" in done.err
    assert "fp32, fp16, int8" in done.err
    assert not (tmp_path / "b").exists()


def test_explain_knows_the_targets(cli: Any) -> None:
    done = cli("explain", "tiny_net:build", "--target", "arm64", "--json", "-")
    assert json.loads(done.out)["target"] == "arm64"


def test_readme_for_android_says_where_files_go(exported: dict[str, Path]) -> None:
    text = (exported["android"] / "README.md").read_text()
    (kotlin,) = re.findall(r"```kotlin\n(.*?)```", text, flags=re.DOTALL)
    assert 'registerCustomOpLibrary("libattnc_kernels.so")' in kotlin
    assert "longArrayOf(1, 3, 24, 24)" in kotlin
    assert "FloatArray(1728)" in kotlin
    assert 'ORT_TSTR("libattnc_kernels.so")' in text
    assert "jniLibs/arm64-v8a/libattnc_kernels.so" in text
    assert "```python" not in text


@pytest.mark.parametrize("model", ["model.onnx", "model.ort"])
def test_python_lines_of_the_readme_for_arm64_run(exported: dict[str, Path], model: str) -> None:
    """With this machine's library in the place of the bundle's."""
    folder = exported["arm64"]
    (lines,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert '# or "model.ort"' in lines
    own = lines.replace("kernels/attnc_kernels-linux-aarch64.so", str(library_path()))
    own = own.replace('"model.onnx"', f'"{model}"')
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"{own}\nprint(*logits[0])"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    source = attnc.open(folder, kernels=False)
    expected = source.run({"input": np.zeros((1, 3, 24, 24), np.float32)})["logits"]
    np.testing.assert_allclose(np.fromstring(done.stdout, sep=" "), expected[0], atol=1e-6)
