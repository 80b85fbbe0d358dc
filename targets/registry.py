"""The targets, in one list; third parties add theirs through the entry point `attnc.targets`."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points

from attnc.compiler.errors import UsageError


@dataclass(frozen=True)
class Target:
    """A target: its name, what it is, and the profile that is taken if none is named."""

    name: str
    description: str
    default_profile: str


TARGETS: tuple[Target, ...] = (
    Target("cpu", "ONNX Runtime on x86-64 and arm64, with our kernels", "native"),
    Target("tensorrt", "NVIDIA GPUs: TensorRT and TensorRT for RTX, with plugin kernels", "rtx"),
    Target("android", "Android phones: ONNX and ORT format, with kernels for arm64", "android"),
    Target("arm64", "Linux boards and servers with arm64: ONNX and ORT format", "rpi5"),
    Target("web", "browsers: our WebAssembly engine, and ONNX for onnxruntime-web", "web"),
    Target("coreml", "iPhone, iPad, Mac: an ML Program for Core ML", "iphone15"),
)


def all_targets() -> list[Target]:
    """Built-in targets and those of installed extensions."""
    extensions = [point.load() for point in entry_points(group="attnc.targets")]
    return [*TARGETS, *extensions]


def get_target(name: str) -> Target:
    """The target of this name; UsageError if there is none."""
    targets = {target.name: target for target in all_targets()}
    if name not in targets:
        nearest = get_close_matches(name, list(targets), n=1)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise UsageError(f"unknown target {name!r}", remedy=f"{hint}known: {', '.join(targets)}")
    return targets[name]
