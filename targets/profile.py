"""Device profiles: what a target must know about the machine that a bundle is for."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from attnc.compiler.errors import UsageError

FOLDER = Path(__file__).parent / "profiles"


class TensorrtDevice(BaseModel):
    """What a TensorRT profile knows besides: the runtime on the device and its GPUs.

    `version` is the oldest TensorRT there; `compute_capabilities` as NVIDIA writes them ("8.9").
    `attention_operator`: its parser and kernels take opset 23's Attention in float16 and bfloat16.
    `ahead_of_time_plugins`: it knows `tensorrt.plugin.aot_impl`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    runtime: Literal["tensorrt-rtx", "tensorrt"]
    version: str
    compute_capabilities: tuple[str, ...]
    attention_operator: bool
    ahead_of_time_plugins: bool
    cuda: str = "13.0"

    @property
    def architectures(self) -> tuple[str, ...]:
        """The compute capabilities as nvcc writes them: "89"."""
        return tuple(number.replace(".", "") for number in self.compute_capabilities)


class CoremlDevice(BaseModel):
    """What a Core ML profile knows besides: the oldest iOS that the bundle is for.

    16, 17 and 18 stand for macOS 13, 14 and 15, iPadOS, tvOS and watchOS of the same years as well.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ios: Literal[15, 16, 17, 18]


class Profile(BaseModel):
    """One device or class of devices.

    `platforms` names the kernel libraries that a bundle carries, as `<system>-<machine>`; the
    word "native" stands for the machine that exports. `opset` and `ir_version` are the highest
    that the oldest runtime on the device reads.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    target: str
    description: str
    platforms: tuple[str, ...] = ("native",)
    opset: int = 20
    ir_version: int = 9
    tensorrt: TensorrtDevice | None = None
    coreml: CoremlDevice | None = None

    def resolved_platforms(self, host: str) -> tuple[str, ...]:
        """`platforms` with "native" replaced by the name of this machine's platform."""
        return tuple(host if platform == "native" else platform for platform in self.platforms)


def profile_names(target: str | None = None) -> list[str]:
    """Names of all profiles, or of those of one target."""
    return [profile.name for profile in all_profiles() if target in (None, profile.target)]


def all_profiles() -> list[Profile]:
    """Every profile in `targets/profiles`, by name."""
    return [read_profile(path) for path in sorted(FOLDER.glob("*.toml"))]


def read_profile(path: Path) -> Profile:
    """A profile from its file; the file's stem is its name."""
    try:
        return Profile(name=path.stem, **tomllib.loads(path.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"not a device profile: {error}", where=str(path)) from error


def load_profile(target: str, name: str) -> Profile:
    """The named profile of a target; a path to a .toml file serves as well."""
    if name.endswith(".toml"):
        profile = read_profile(Path(name))
        if profile.target != target:
            raise UsageError(
                f"profile {name} is for target {profile.target}, not {target}",
                remedy=f"--target {profile.target}, or one of: {', '.join(profile_names(target))}",
            )
        return profile
    known = profile_names(target)
    if name not in known:
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise UsageError(
            f"unknown profile {name!r} for target {target}",
            remedy=f"{hint}known: {', '.join(known)}",
        )
    return read_profile(FOLDER / f"{name}.toml")
