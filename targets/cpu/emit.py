"""Write the CPU bundle's model file and the kernel libraries that go with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.inline import inline_body
from attnc.compiler.ops.registry import attach_functions
from attnc.compiler.provenance import describe
from attnc.targets.cpu.checks import check_model
from attnc.targets.cpu.fewer_bits import Precision, use_fewer_bits
from attnc.targets.cpu.lower import LOWERED_NAMES, Refusal, lower
from attnc.targets.cpu.turn import MAP_TURNS, turn_maps
from attnc.targets.model_file import MODEL_FILE, finish, write_model
from attnc.targets.profile import Profile

KERNEL_FOLDER = "kernels"


@dataclass(frozen=True)
class Emission:
    """What was written (paths relative to the folder), which kernels it needs, what stayed.

    `more_bits`: linear layers that have more bits than were asked for.
    """

    files: tuple[str, ...]
    operators: tuple[str, ...]
    not_lowered: tuple[Refusal, ...]
    more_bits: tuple[Refusal, ...] = ()


def emit(
    model: ir.Model,
    profile: Profile,
    folder: Path,
    libraries: Mapping[str, Path],
    keeps: Callable[[ir.Node], bool] = lambda node: True,
    precision: Precision = "fp32",
) -> Emission:
    """Lower the model in place and write it to an existing, empty folder.

    `libraries` maps platform names to kernel libraries to be copied along; without any, the
    bundle runs on the function bodies alone. `keeps` tells of a fused node that has a kernel
    whether it stays; otherwise its body takes its place.
    """
    refusals = lower(model)
    more_bits = use_fewer_bits(model, precision)
    turn_maps(model)
    for node in [node for node in model.graph if _has_kernel(node)]:
        if not keeps(node):
            inline_body(node)
    operators = attach_functions(model)
    finish(model, profile)
    check_model(model)
    write_model(model, folder)
    files = [MODEL_FILE, *copy_libraries(folder, libraries)]
    return Emission(tuple(files), tuple(operators), tuple(refusals), tuple(more_bits))


def _has_kernel(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type in LOWERED_NAMES | MAP_TURNS.keys()


def copy_libraries(folder: Path, libraries: Mapping[str, Path]) -> list[str]:
    """Copy the kernel libraries into `kernels/`; returns their paths in the bundle."""
    copied = []
    for platform in sorted(libraries):
        source = libraries[platform]
        (folder / KERNEL_FOLDER).mkdir(exist_ok=True)
        shutil.copyfile(source, folder / KERNEL_FOLDER / source.name)
        copied.append(f"{KERNEL_FOLDER}/{source.name}")
    return copied


def describe_refusals(emission: Emission) -> list[str]:
    """One line per operator that runs on its body, for people."""
    return [f"{describe(item.node)}: {item.reason}" for item in emission.not_lowered]
