"""Profiles of TensorRT devices, and the precisions and opsets that each of them takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tensorrt_graphs import Graph, copied, run

from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.runtimes.cuda.build import ARCHS
from attnc.targets.profile import FOLDER, Profile, load_profile, profile_names, read_profile
from attnc.targets.tensorrt.emit import Choice, check_precision, device_of, options_of
from attnc.targets.tensorrt.lower import lower

NAMES = profile_names("tensorrt")
JETPACK6 = [name for name in NAMES if name.endswith("jp6")]


@pytest.mark.parametrize("name", NAMES)
def test_every_profile(name: str) -> None:
    profile = load_profile("tensorrt", name)
    device = device_of(profile)
    assert profile.description
    assert profile.platforms == ()
    assert all(f"sm_{sm}" in ARCHS for sm in device.architectures)
    assert [f"{sm[:-1]}.{sm[-1]}" for sm in device.architectures] == list(
        device.compute_capabilities
    )
    assert not (device.ahead_of_time_plugins and device.runtime == "tensorrt-rtx")
    old = device.version.startswith("10.3")
    assert device.attention_operator != old
    assert profile.opset == (18 if old else 23)
    for precision in ("fp32", "fp16"):
        check_precision(profile, precision)
    options = options_of(profile, "fp16", Choice())
    assert (options.opset, options.attention_operator) == ((18, False) if old else (23, True))
    assert options_of(profile, "fp32", Choice()).opset == min(20, profile.opset)


def test_every_file_in_the_folder_is_a_profile() -> None:
    names = {path.stem for path in FOLDER.glob("*.toml")}
    assert names >= set(NAMES)
    assert len(JETPACK6) == 2
    for path in FOLDER.glob("*.toml"):
        profile = read_profile(path)
        assert (profile.target == "tensorrt") == (profile.tensorrt is not None)


@pytest.mark.parametrize("name", ["t4", "rtx2080", "rtx"])
def test_turing_has_no_bfloat16(name: str) -> None:
    with pytest.raises(UsageError, match=r"bf16 needs compute capability 8\.0.* 7\.5") as caught:
        check_precision(load_profile("tensorrt", name), "bf16")
    assert "--precision fp16" in caught.value.render()


@pytest.mark.parametrize("name", JETPACK6)
def test_jetpack_6_has_no_bfloat16_convolutions(name: str) -> None:
    with pytest.raises(UsageError, match="no bfloat16 convolutions at opset 18"):
        check_precision(load_profile("tensorrt", name), "bf16")


def test_other_profiles_have_bfloat16() -> None:
    for name in set(NAMES) - {"t4", "rtx2080", "rtx", *JETPACK6}:
        check_precision(load_profile("tensorrt", name), "bf16")


@pytest.mark.parametrize("precision", ["int8", "FP16", "", "float16"])
def test_unknown_precision(precision: str) -> None:
    with pytest.raises(UsageError, match="unknown precision") as caught:
        check_precision(load_profile("tensorrt", "h100"), precision)
    assert "fp32, fp16, bf16" in caught.value.render()


def test_a_profile_without_its_table(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('target = "tensorrt"\ndescription = "mine"\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"profile mine has no \[tensorrt\] table"):
        check_precision(load_profile("tensorrt", str(path)), "fp16")


@pytest.mark.parametrize(
    "change", ['runtime = "cuda"', 'compute_capabilities = "8.9"', "colour = 3"]
)
def test_a_profile_that_is_none(tmp_path: Path, change: str) -> None:
    text = (FOLDER / "rtx4090.toml").read_text("utf-8")
    key = change.split(" ", maxsplit=1)[0]
    lines = [line for line in text.splitlines() if not line.startswith(key)]
    (tmp_path / "mine.toml").write_text("\n".join([*lines, change, ""]), encoding="utf-8")
    with pytest.raises(UsageError, match="not a device profile") as caught:
        load_profile("tensorrt", str(tmp_path / "mine.toml"))
    assert key in caught.value.render()


def test_a_profile_of_another_target() -> None:
    with pytest.raises(UsageError, match="for target cpu, not tensorrt"):
        load_profile("tensorrt", str(FOLDER / "native.toml"))


# --- opsets --------------------------------------------------------------------------------------


def grid_sample(opset: int, mode: str) -> ir.Model:
    g = Graph(opset)
    places = np.linspace(-1, 1, 2 * 4 * 4 * 2).reshape(2, 4, 4, 2).astype(np.float32)
    value = g.op("GridSample", g.op("Tanh", g.input(2, 3, 6, 6)), places, mode=mode)
    return g.model(g.like(value, 2, 3, 4, 4))


def group_norm(opset: int) -> ir.Model:
    g = Graph(opset)
    scale, bias = g.random(4), g.random(4)
    value = g.op("GroupNormalization", g.input(2, 4, 6, 6), scale, bias, num_groups=2)
    return g.model(g.like(value, 2, 4, 6, 6))


def average(opset: int) -> ir.Model:
    g = Graph(opset)
    how = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
    return g.model(g.like(g.op("AveragePool", g.input(1, 3, 6, 6), **how), 1, 3, 3, 3))


def rms_norm(opset: int) -> ir.Model:
    g = Graph(opset)
    return g.model(g.like(g.op("RMSNormalization", g.input(2, 6), g.random(6), axis=-1), 2, 6))


@pytest.mark.parametrize(
    ("model", "profile", "precision", "reason"),
    [
        (grid_sample(16, "bilinear"), "h100", "fp16", "GridSample means something else"),
        (grid_sample(20, "linear"), "orin-agx-jp6", "fp16", "GridSample means something else"),
        (group_norm(21), "orin-agx-jp6", "fp32", "GroupNormalization means something else"),
        (average(18), "h100", "fp16", "AveragePool means something else"),
        (rms_norm(23), "orin-agx-jp6", "fp16", "RMSNormalization does not exist in opset 18"),
    ],
)
def test_operators_that_another_opset_changes_are_refused(
    model: ir.Model, profile: str, precision: str, reason: str
) -> None:
    options = options_of(load_profile("tensorrt", profile), precision, Choice())
    with pytest.raises(UnsupportedError, match=reason) as caught:
        lower(copied(model), options)
    said = caught.value.render()
    assert "stem.block" in said
    assert "net.py:7" in said
    assert "opset 20" in said


@pytest.mark.parametrize(
    ("model", "precision", "opset"),
    [
        (grid_sample(20, "linear"), "fp16", 23),
        (grid_sample(20, "linear"), "fp32", 20),
        (group_norm(21), "fp16", 23),
        (group_norm(21), "fp32", 21),
        (average(19), "fp16", 23),
        (rms_norm(23), "fp32", 23),
    ],
)
def test_operators_that_mean_the_same_go_along(model: ir.Model, precision: str, opset: int) -> None:
    lowered = copied(model)
    lower(lowered, options_of(load_profile("tensorrt", "h100"), precision, Choice()))
    assert lowered.graph.opset_imports[""] == opset
    feeds = {v.name: np.ones([int(s) for s in v.shape], np.float32) for v in model.graph.inputs}
    np.testing.assert_array_equal(run(lowered, feeds)[0], run(copied(model), feeds)[0])


def test_profiles_may_be_anybodys_own(tmp_path: Path) -> None:
    text = (FOLDER / "rtx4090.toml").read_text("utf-8").replace("opset = 23", "opset = 22")
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    profile: Profile = load_profile("tensorrt", str(tmp_path / "mine.toml"))
    assert options_of(profile, "fp16", Choice()).opset == 20
    assert options_of(profile, "bf16", Choice()).opset == 22
