"""Lower a graph for a TensorRT profile and write the model file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from attnc.compiler.errors import UsageError
from attnc.compiler.ops.base import BODY_OPSET
from attnc.compiler.pipeline import NearMiss
from attnc.passes.precision.to_precision import ToPrecision
from attnc.targets.model_file import finish, write_model
from attnc.targets.profile import Profile, TensorrtDevice
from attnc.targets.tensorrt.bodies import attach_functions
from attnc.targets.tensorrt.checks import check_model
from attnc.targets.tensorrt.lower import ATTENTION_OPSET, Options, Refusal, lower
from attnc.targets.tensorrt.unplug import unplug

PRECISIONS = ("fp32", "fp16", "bf16")
#: The first compute capability with bfloat16, and the first opset with it in all operators.
BF16_FROM, BF16_OPSET = (8, 0), 22
#: max |x| by value name, of a float32 model.
Ranges = Callable[[ir.Model], Mapping[str, float]]


@dataclass(frozen=True)
class Emission:
    """The plugins' operators, what stayed without its form, and what stayed in float32."""

    plugins: tuple[str, ...]
    not_lowered: tuple[Refusal, ...]
    float32_regions: tuple[NearMiss, ...]


def device_of(profile: Profile) -> TensorrtDevice:
    """The profile's TensorRT part. Raises UsageError if it has none."""
    if profile.tensorrt is None:
        raise UsageError(
            f"profile {profile.name} has no [tensorrt] table",
            remedy="take one of `attnc list profiles`, or add the table to the .toml file",
        )
    return profile.tensorrt


def check_precision(profile: Profile, precision: str) -> None:
    """Raise UsageError if the precision is unknown or the profile's GPUs lack it."""
    if precision not in PRECISIONS:
        raise UsageError(
            f"unknown precision {precision!r}", remedy=f"one of: {', '.join(PRECISIONS)}"
        )
    if precision == "bf16" and profile.opset < BF16_OPSET:
        raise UsageError(
            f"ONNX has no bfloat16 convolutions at opset {profile.opset}, which is what profile "
            f"{profile.name} reads",
            remedy="use --precision fp16",
        )
    for capability in device_of(profile).compute_capabilities:
        if precision == "bf16" and tuple(map(int, capability.split("."))) < BF16_FROM:
            raise UsageError(
                f"bf16 needs compute capability 8.0; profile {profile.name} has GPUs of "
                f"{capability}",
                remedy="use --precision fp16, or a profile of Ampere or later",
            )


@dataclass(frozen=True)
class Choice:
    """What the kernels of engines decide: `bodies` names operators that are no plugins,
    `attention_operator` is off where TensorRT has no fused kernel for one of the attentions."""

    bodies: frozenset[str] = frozenset()
    attention_operator: bool = True


def options_of(profile: Profile, precision: str, choice: Choice) -> Options:
    """How to lower: the operator Attention has no fused kernel in float32."""
    operator = device_of(profile).attention_operator and precision != "fp32"
    operator = operator and profile.opset >= ATTENTION_OPSET and choice.attention_operator
    if operator:
        return Options(ATTENTION_OPSET, operator, choice.bodies)
    version = BF16_OPSET if precision == "bf16" else min(profile.opset, BODY_OPSET)
    return Options(version, operator, choice.bodies, profile.opset)


def emit(
    model: ir.Model,
    profile: Profile,
    folder: Path,
    precision: str,
    ranges: Ranges,
    choice: Choice = Choice(),
) -> Emission:
    """Lower the model in place and write it to `folder`.

    `ranges` records magnitudes of the float32 graph, for float16. Raises UnsupportedError for what
    TensorRT's parser refuses.
    """
    refusals = lower(model, options_of(profile, precision, choice))
    check_model(model)
    regions = convert(model, precision, ranges)
    plugins = attach_functions(model, precision)
    leave_unsaid(model.graph)
    finish(model, profile)
    write_model(model, folder)
    return Emission(tuple(plugins), tuple(refusals), regions)


def leave_unsaid(graph: ir.Graph) -> None:
    """A value whose rank nobody knows loses its type too: ONNX has no such annotation."""
    for node in graph:
        for value in node.outputs:
            if value.shape is None and not value.is_graph_output():
                value.type = None


def convert(model: ir.Model, precision: str, ranges: Ranges) -> tuple[NearMiss, ...]:
    """Bring a float32 graph to the precision; returns what stays float32."""
    if precision == "fp32":
        return ()
    found = ranges(model) if precision == "fp16" else {}
    result = ToPrecision("fp16" if precision == "fp16" else "bf16", found).run(model)
    return (*result.near_misses, *unplug(model))
