"""Maps in other sizes: resampled, or with depth and space exchanged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import Array, attribute, const, input_at, ints
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.standard.cuts import pick
from attnc.targets.coreml.standard.values import kind_of, not_constant, operand, refusal, settle
from attnc.targets.coreml.writer import sizes

#: MIL's name for where samples are taken, by that of ONNX.
_SAMPLING = {
    "half_pixel": "UNALIGN_CORNERS",
    "half_pixel_symmetric": "UNALIGN_CORNERS",
    "pytorch_half_pixel": "UNALIGN_CORNERS",
    "align_corners": "STRICT_ALIGN_CORNERS",
    "asymmetric": "DEFAULT",
}
_ROUNDING: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda points: np.ceil(points - np.float32(0.5)),
    "round_prefer_ceil": lambda points: np.floor(points + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}
#: Scales that round to whole sizes by less than this place their samples as MIL does.
_CLOSE = 1e-6


@dataclass(frozen=True)
class Axis:
    """One axis that is resized: its sizes before and after, and the scale between its samples."""

    place: int
    before: int
    after: int
    scale: np.float32


def _resize(node: ir.Node, to: Forms) -> None:
    where = attribute(node, "coordinate_transformation_mode", "half_pixel")
    rounding = attribute(node, "nearest_mode", "round_prefer_floor")
    if attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise refusal(node, "it keeps the aspect ratio", "give both sizes and let it stretch")
    _resample(node, to, _axes(node, to, 2, 3), where, rounding)


def _upsample(node: ir.Node, to: Forms) -> None:
    _resample(node, to, _axes(node, to, 1, 2), "asymmetric", "floor")


def _axes(node: ir.Node, to: Forms, scales_at: int, sizes_at: int) -> list[Axis]:
    """The axes whose size changes."""
    before, after = to.sizes(node.inputs[0]), to.sizes(node.outputs[0])
    scales = const(input_at(node, scales_at))
    if scales is None and attribute(node, "scales") is not None:
        scales = np.asarray(attribute(node, "scales"), np.float32)
    if (scales is None or not scales.size) and ints(input_at(node, sizes_at)) is None:
        raise not_constant(node, "sizes")
    chosen = attribute(node, "axes") or list(range(len(before)))
    found = []
    for index, axis in enumerate(place % len(before) for place in chosen):
        given = scales is not None and scales.size > 0
        scale = scales[index] if given and scales is not None else after[axis] / before[axis]
        if after[axis] != before[axis] or abs(scale - 1) > _CLOSE:
            found.append(Axis(axis, before[axis], after[axis], np.float32(scale)))
    return found


def _resample(node: ir.Node, to: Forms, axes: list[Axis], where: str, rounding: str) -> None:
    x, mode = operand(node, to, 0), attribute(node, "mode", "nearest")
    if where not in _SAMPLING:
        raise refusal(node, f"Core ML does not sample by {where}", "use half_pixel")
    if mode not in ("nearest", "linear"):
        raise refusal(node, f"Core ML has no {mode} resizing", "use linear or nearest")
    if not axes:
        settle(node, to, x)
    elif mode == "nearest":
        settle(node, to, _nearest(to, x, axes, where, rounding))
    else:
        _check_linear(node, axes, where, len(sizes(x)))
        height, width = to.sizes(node.outputs[0])[-2:]
        made = to.emit(
            "resize_bilinear",
            x=x,
            target_size_height=height,
            target_size_width=width,
            sampling_mode=_SAMPLING[where],
        )
        settle(node, to, made)


def _check_linear(node: ir.Node, axes: list[Axis], where: str, rank: int) -> None:
    if rank < 3 or any(axis.place < rank - 2 for axis in axes):
        raise refusal(
            node,
            "Core ML interpolates along the last two axes only",
            "put the channels before them",
        )
    for axis in axes:
        if abs(axis.before * float(axis.scale) - axis.after) > _CLOSE * axis.after:
            raise refusal(
                node,
                f"its scale {axis.scale:.6g} takes size {axis.before} to {axis.after} by rounding",
                "give the sizes, not the scales",
            )
        if where == "pytorch_half_pixel" and axis.after == 1:
            raise refusal(node, f"{where} differs in Core ML for one element", "use half_pixel")
        if attribute(node, "antialias", 0) and axis.after < axis.before:
            raise refusal(node, "Core ML has no antialias", "resize without it, or pool first")


def _nearest(to: Forms, x: Any, axes: list[Axis], where: str, rounding: str) -> Any:
    """Whole factors repeat every element; anything else picks the elements one axis at a time."""
    rank = len(sizes(x))
    places = {axis.place: _places(axis, where, rounding) for axis in axes}
    factors = {axis.place - rank: axis.after // axis.before for axis in axes}
    repeated = all(
        places[axis.place] == [i // max(factors[axis.place - rank], 1) for i in range(axis.after)]
        for axis in axes
    )
    if repeated and rank >= 3 and set(factors) <= {-1, -2} and kind_of(x) == "float":
        return to.emit(
            "upsample_nearest_neighbor",
            x=x,
            scale_factor_height=factors.get(-2, 1),
            scale_factor_width=factors.get(-1, 1),
        )
    for axis, chosen in places.items():
        x = pick(to, x, axis, chosen)
    return x


def _places(axis: Axis, where: str, rounding: str) -> list[int]:
    """The element of the input for each of the output, in float32 as runtimes compute it."""
    steps, half = np.arange(axis.after, dtype=np.float32), np.float32(0.5)
    if where == "align_corners":
        points = steps * np.float32(axis.before - 1) / np.float32(max(axis.after - 1, 1))
    elif where == "asymmetric":
        points = steps / axis.scale
    elif where == "pytorch_half_pixel" and axis.after == 1:
        points = steps
    else:
        points = (steps + half) / axis.scale - half
    if where == "half_pixel_symmetric":
        share = np.float32(axis.after) / (axis.scale * np.float32(axis.before))
        points = points + np.float32(axis.before / 2) * (1 - share)
    return [int(place) for place in np.clip(_ROUNDING[rounding](points), 0, axis.before - 1)]


def _depth_to_space(node: ir.Node, to: Forms) -> None:
    x, block = operand(node, to, 0), attribute(node, "blocksize")
    if block == 1:
        settle(node, to, x)
    elif attribute(node, "mode", "DCR") == "CRD":
        settle(node, to, to.emit("pixel_shuffle", x=x, upscale_factor=block))
    else:
        settle(node, to, to.emit("depth_to_space", x=x, block_size=block))


def _space_to_depth(node: ir.Node, to: Forms) -> None:
    x, block = operand(node, to, 0), attribute(node, "blocksize")
    settle(node, to, x if block == 1 else to.emit("space_to_depth", x=x, block_size=block))


def _grid_sample(node: ir.Node, to: Forms) -> None:
    mode = {"linear": "bilinear"}.get(attribute(node, "mode", "linear"), attribute(node, "mode"))
    padding, corners = attribute(node, "padding_mode", "zeros"), attribute(node, "align_corners", 0)
    x = operand(node, to, 0)
    if mode not in ("bilinear", "nearest") or len(sizes(x)) != 4:
        raise refusal(
            node,
            "Core ML samples maps by bilinear or nearest only",
            "use one of these on [B,C,H,W]",
        )
    mirror = "reflection" if corners else "symmetric"
    made = to.emit(
        "resample",
        x=x,
        coordinates=operand(node, to, 1),
        sampling_mode=mode,
        padding_mode={"zeros": "constant", "border": "border", "reflection": mirror}[padding],
        padding_value=0.0,
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=bool(corners),
    )
    settle(node, to, made)


OPERATORS: dict[str, Callable[[ir.Node, Forms], None]] = {
    "DepthToSpace": _depth_to_space,
    "GridSample": _grid_sample,
    "Resize": _resize,
    "SpaceToDepth": _space_to_depth,
    "Upsample": _upsample,
}
