"""Targets android and arm64: their profiles, and that the graph is the CPU's."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnc.compiler.bundle import file_sha256
from attnc.compiler.cli.api import export
from attnc.compiler.cli.emit_arm import PLATFORMS
from attnc.compiler.cli.emitting import emitter_of
from attnc.compiler.errors import UsageError
from attnc.targets.profile import load_profile, profile_names, read_profile
from attnc.targets.registry import get_target

DEVICES = {
    "android": {"android", "pixel6", "pixel8", "galaxy-s23"},
    "arm64": {"rpi4", "rpi5", "jetson-cpu", "graviton"},
}


@pytest.mark.parametrize("target", DEVICES)
def test_every_profile_asks_for_its_devices_kernels(target: str) -> None:
    assert set(profile_names(target)) == DEVICES[target]
    assert get_target(target).default_profile in DEVICES[target]
    for name in profile_names(target):
        profile = load_profile(target, name)
        assert profile.platforms == (PLATFORMS[target],)
        assert profile.description


def test_a_profile_of_the_cpu_target_keeps_its_name() -> None:
    assert load_profile("cpu", "arm64").platforms == ("linux-aarch64",)
    with pytest.raises(UsageError, match="unknown profile 'pixel8' for target cpu"):
        load_profile("cpu", "pixel8")


@pytest.mark.parametrize(
    ("target", "platforms", "said"),
    [
        ("android", '["linux-aarch64"]', "linux-aarch64"),
        ("arm64", '["linux-aarch64", "linux-x86_64"]', "linux-x86_64"),
    ],
)
def test_kernels_for_another_machine_are_refused(
    tmp_path: Path, target: str, platforms: str, said: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'target = "{target}"\ndescription = "mine"\nplatforms = {platforms}\n')
    with pytest.raises(UsageError, match=f"asks for kernels for {said}") as caught:
        emitter_of(read_profile(path), None, kernels=True, measure=None)
    assert PLATFORMS[target] in caught.value.remedy


@pytest.mark.usefixtures("importable_data")
def test_the_model_is_that_of_the_cpu(tmp_path: Path) -> None:
    """Target cpu, profile arm64, writes the same graph and the same library."""
    made = {
        target: export("tiny_net:build", target=target, profile=profile, output=tmp_path / target)
        for target, profile in (("cpu", "arm64"), ("arm64", "graviton"), ("android", "pixel8"))
    }
    assert len({file_sha256(bundle.model_path) for bundle in made.values()}) == 1
    libraries = [made[target].kernel_library("linux-aarch64") for target in ("cpu", "arm64")]
    assert libraries[0] is not None
    assert libraries[1] is not None
    assert file_sha256(libraries[0]) == file_sha256(libraries[1])
    assert made["cpu"].manifest.ort_format is None
    for bundle in (made["arm64"], made["android"]):
        assert {verdict.verdict for verdict in bundle.manifest.verdicts} <= {"not measured"}
        assert all("another machine" in verdict.reason for verdict in bundle.manifest.verdicts)
