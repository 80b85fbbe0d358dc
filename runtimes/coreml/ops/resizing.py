"""Images resized: to scale factors, to target sizes, or cut out by boxes."""

from __future__ import annotations

import math

import numpy as np

from attnc.compiler.errors import UnsupportedError
from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.ops import sampling
from attnc.runtimes.coreml.ops.interpolation import (
    linear_along,
    nearest_along,
    sampling_grid,
    stretched_along,
)
from attnc.runtimes.coreml.types import Array

#: From the order that a box's coordinates are given in: (first axis is height, is centre and size).
_BOXES = {
    "CORNERS_HEIGHT_FIRST": (True, False),
    "CORNERS_WIDTH_FIRST": (False, False),
    "CENTER_SIZE_HEIGHT_FIRST": (True, True),
    "CENTER_SIZE_WIDTH_FIRST": (False, True),
}


def _linear(x: Array, mode: str, sizes: tuple[int, ...]) -> Array:
    """`x` interpolated to `sizes` on its last axes."""
    for axis, count in enumerate(sizes, start=x.ndim - len(sizes)):
        x = linear_along(x, sampling_grid(mode, count, 0, x.shape[axis] - 1), axis)
    return x


def _nearest(x: Array, mode: str, sizes: tuple[int, ...]) -> Array:
    for axis, count in enumerate(sizes, start=x.ndim - len(sizes)):
        x = nearest_along(x, mode, count, axis)
    return x


def _scaled_sizes(call: Call) -> tuple[int, int]:
    height, width = call["x"].shape[-2:]
    rows = math.floor(height * np.float32(call.number("scale_factor_height", 1)))
    return rows, math.floor(width * np.float32(call.number("scale_factor_width", 1)))


def _target_sizes(call: Call) -> tuple[int, int]:
    return call.int("target_size_height", 1), call.int("target_size_width", 1)


def _upsample_nearest(call: Call) -> Array:
    rows, columns = _scaled_sizes(call)
    return stretched_along(stretched_along(call["x"], rows, -2), columns, -1)


def _upsample_bilinear(call: Call) -> Array:
    corners = call.flag("align_corners", True)
    halves = call.flag("half_pixel_centers", not corners)
    if corners and halves:
        raise ValueError("align_corners and half_pixel_centers exclude one another")
    mode = "UNALIGN_CORNERS" if halves else "STRICT_ALIGN_CORNERS" if corners else "DEFAULT"
    return _linear(call.wide("x"), mode, _scaled_sizes(call))


def _resize_nearest(call: Call) -> Array:
    return _nearest(call["x"], "DEFAULT", _target_sizes(call))


def _resize_bilinear(call: Call) -> Array:
    return _linear(call.wide("x"), call.text("sampling_mode", "DEFAULT"), _target_sizes(call))


def _resize(call: Call) -> Array:
    count = call.int("resized_dims")
    if count == 0:
        return np.asarray(call["x"])
    asked, had = call.ints("shape")[-count:], call["x"].shape[-count:]
    sizes = tuple(new or old for new, old in zip(asked, had, strict=True))
    mode = call.text("sampling_mode", "DEFAULT")
    if call.text("interpolation_mode", "LINEAR") == "NEAREST_NEIGHBOR":
        return _nearest(call["x"], mode, sizes)
    if call["x"].dtype.kind != "f":
        raise UnsupportedError(
            "how a linear resize rounds whole numbers is not documented",
            where=f"operation {call.type} '{call.name}'",
            remedy="cast the input to fp32",
        )
    return _linear(call.wide("x"), mode, sizes)


def _corners(call: Call, box: Array, sizes: tuple[int, int]) -> list[tuple[float, float]]:
    """(start, end) of a box in pixels: on the height, then on the width."""
    order = call.text("box_coordinate_mode", "CORNERS_HEIGHT_FIRST")
    if order not in _BOXES:
        raise ValueError(f"unknown box_coordinate_mode '{order}'")
    height_first, centred = _BOXES[order]
    pairs = [(float(box[0]), float(box[2])), (float(box[1]), float(box[3]))]
    if centred:
        pairs = [(middle - extent / 2, middle + extent / 2) for middle, extent in pairs]
    if not height_first:
        pairs.reverse()
    scale = call.number("spatial_scale", 1.0)
    normal = call.flag("normalized_coordinates", False)
    factors = [scale * (size - 1 if normal else 1) for size in sizes]
    return [(a * factor, b * factor) for (a, b), factor in zip(pairs, factors, strict=True)]


def _cut_out(call: Call, image: Array, box: Array) -> Array:
    """The part of `image` [..., H, W] in one box, resized; `pad_value` outside of the image."""
    mode = call.text("sampling_mode", "DEFAULT")
    if mode == "UNALIGN_CORNERS":
        raise UnsupportedError(
            "where UNALIGN_CORNERS samples within a box is not documented",
            where=f"operation {call.type} '{call.name}'",
            remedy="use ALIGN_CORNERS",
        )
    sizes = (image.shape[-2], image.shape[-1])
    targets = (call.int("target_height", 1), call.int("target_width", 1))
    inside = np.ones((1, 1), bool)
    for axis, (size, count, (start, end)) in enumerate(
        zip(sizes, targets, _corners(call, box, sizes), strict=True), start=-2
    ):
        points = sampling_grid(mode, count, start, end)
        within = (points >= 0) & (points <= size - 1)
        inside = inside & (within[:, None] if axis == -2 else within)
        image = linear_along(image, np.clip(points, 0, size - 1), axis)
    return np.where(inside, image, np.float32(call.number("pad_value", 0.0)))


def _crop_resize_by_roi(call: Call, x: Array) -> Array:
    """Up to iOS16: boxes [N, 1, 4 or 5, 1, 1], the fifth number the index of the image."""
    rois = call.wide("roi")[:, 0, :, 0, 0]
    if rois.shape[1] == 4:
        return np.stack([_cut_out(call, x, box) for box in rois])
    return np.stack([_cut_out(call, x[int(i) : int(i) + 1], box) for i, *box in rois])


def _crop_resize(call: Call) -> Array:
    x = call.wide("x")
    if call.get("boxes") is None:
        return _crop_resize_by_roi(call, x)
    boxes = call.wide("boxes")
    images = call.ints("box_indices", range(len(boxes)))
    return np.stack([_cut_out(call, x[i], box) for i, box in zip(images, boxes, strict=True)])


OPERATIONS = {
    "crop_resize": _crop_resize,
    "resize": _resize,
    "resize_bilinear": _resize_bilinear,
    "resize_nearest_neighbor": _resize_nearest,
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest,
    **sampling.OPERATIONS,
}
