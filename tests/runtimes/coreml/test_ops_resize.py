"""Resizes, crops and samplings of MIL against the coordinate formulas of its documentation."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mil_formulas import bilinear, grid, sampled
from mil_programs import Array, Case, cases, check, mb, numbers

draw = numbers(111)

X = draw(2, 3, 5, 4)
MODES = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS")
SIZES = ((9, 7), (3, 2), (1, 1))


def linear(x: Array, mode: str, size: tuple[int, int]) -> Array:
    """The last two dimensions brought to a size by one of MIL's sampling modes."""
    return sampled(x, *(grid(mode, n, t) for n, t in zip(x.shape[-2:], size, strict=True)))


def nearest(x: Array, size: tuple[int, int], within: float) -> Array:
    """The input pixel that holds a point of every output pixel: its start, 0, or its middle."""
    result = np.zeros((*x.shape[:-2], *size))
    for i, j in np.ndindex(*size):
        row, column = (
            math.floor((place + within) * full / part)
            for place, full, part in zip((i, j), x.shape[-2:], size, strict=True)
        )
        result[..., i, j] = x[..., row, column]
    return result


def upsample(align: bool, halves: bool | None, factors: tuple[float, float]) -> Case:
    """A bilinear resize by factors; the sampling follows from the resulting size."""
    given = {} if halves is None else {"half_pixel_centers": halves}
    centres = (not align) if halves is None else halves
    mode = "STRICT_ALIGN_CORNERS" if align else "UNALIGN_CORNERS" if centres else "DEFAULT"
    size = tuple(math.floor(n * f) for n, f in zip(X.shape[-2:], factors, strict=True))
    return Case(
        "upsample_bilinear",
        lambda x: mb.upsample_bilinear(
            x=x,
            scale_factor_height=factors[0],
            scale_factor_width=factors[1],
            align_corners=align,
            **given,
        ),
        lambda x: linear(x, mode, (size[0], size[1])),
        (X,),
        label=f"{align}-{halves}-{factors}",
    )


def resize(shape: list[int], dims: int, size: tuple[int, int], **modes: str) -> Case:
    """The resize of iOS17, which takes the right-most entries of a shape."""
    mode = modes.get("sampling_mode", "DEFAULT")
    near = modes.get("interpolation_mode", "LINEAR") == "NEAREST_NEIGHBOR"
    return Case(
        "resize",
        lambda x: mb.resize(x=x, shape=shape, resized_dims=np.uint32(dims), **modes),
        lambda x: nearest(x, size, 0.5) if near else linear(x, mode, size),
        (X,),
        target="iOS17",
        label="-".join([str(shape), *modes.values()]),
    )


def line(mode: str, start: float, end: float, count: int) -> list[float]:
    """Where a crop samples between two pixels."""
    if mode == "OFFSET_CORNERS":
        delta = max(1, end - start) / count
        return [min(end, max(start, start + (i + 0.5) * delta)) for i in range(count)]
    if count == 1:
        return [start if mode == "STRICT_ALIGN_CORNERS" else (start + end) / 2]
    return [start + i * (end - start) / (count - 1) for i in range(count)]


def cut(
    image: Array, box: tuple[float, ...], size: tuple[int, int], mode: str, pad: float
) -> Array:
    """[C, H, W] within (top, left, bottom, right), in pixels; `pad` outside the image."""
    rows, columns = line(mode, box[0], box[2], size[0]), line(mode, box[1], box[3], size[1])
    result = np.full((image.shape[0], *size), pad)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if 0 <= row <= image.shape[1] - 1 and 0 <= column <= image.shape[2] - 1:
                result[:, i, j] = bilinear(image, row, column)
    return result


BOXES = [(0.5, 1, 3.25, 2.5), (1, 0, 4, 3), (2, 0.75, 2.5, 3)]
OUTSIDE = [(-1.0, 0.5, 3.5, 5.0)]


def crop_by_roi(mode: str, size: tuple[int, int], indexed: bool) -> Case:
    """The iOS16 form: [N, 1, 4 or 5, 1, 1], with the image's index in front or for all images.

    Of an index among several images the documented shape is not the one that is declared.
    """
    images = X[:1] if indexed else X
    rows = [[0, *box] if indexed else list(box) for box in BOXES]
    roi = np.array(rows, np.float32).reshape(3, 1, -1, 1, 1)

    def expected(x: Array, roi: Array) -> Array:
        return np.array([[cut(image, box, size, mode, 0.0) for image in x] for box in BOXES])

    return Case(
        "crop_resize",
        lambda x, roi: mb.crop_resize(
            x=x, roi=roi, target_height=size[0], target_width=size[1], sampling_mode=mode
        ),
        expected,
        (images, roi),
        label=mode,
    )


def crop_by_boxes(
    order: str,
    arrange: Callable[..., tuple[float, ...]],
    boxes: list[tuple[float, ...]],
    normal: bool = False,
    scale: float = 1.0,
) -> Case:
    """The iOS17 form: `arrange` writes (top, left, bottom, right) in the order of the mode."""
    ranges = np.array([4, 3, 4, 3]) if normal else np.ones(4)
    given = np.array([arrange(*(np.array(box) / ranges / scale)) for box in boxes], np.float32)
    indices = np.arange(len(boxes), dtype=np.int32) % 2
    mode = "ALIGN_CORNERS"
    return Case(
        "crop_resize",
        lambda x, boxes: mb.crop_resize(
            x=x,
            boxes=boxes,
            box_indices=indices,
            target_height=3,
            target_width=5,
            normalized_coordinates=normal,
            spatial_scale=scale,
            box_coordinate_mode=order,
            sampling_mode=mode,
            pad_value=0.5,
        ),
        lambda x, _: np.stack(
            [cut(x[i], box, (3, 5), mode, 0.5) for i, box in zip(indices, boxes, strict=True)]
        ),
        (X, given),
        target="iOS17",
        tolerance=1e-5,
        label=f"{order}-{normal}-{scale}",
    )


CASES = [
    *(
        Case(
            "resize_bilinear",
            lambda x, m=mode, s=size: mb.resize_bilinear(
                x=x, target_size_height=s[0], target_size_width=s[1], sampling_mode=m
            ),
            lambda x, m=mode, s=size: linear(x, m, s),
            (X,),
            label=f"{mode}-{size}",
        )
        for mode in MODES
        for size in SIZES
    ),
    *(
        Case(
            "resize_nearest_neighbor",
            lambda x, s=size: mb.resize_nearest_neighbor(
                x=x, target_size_height=s[0], target_size_width=s[1]
            ),
            lambda x, s=size: nearest(x, s, 0.5),
            (X,),
            label=str(size),
        )
        for size in ((10, 12), (7, 3), (1, 2))
    ),
    Case(
        "upsample_nearest_neighbor",
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=3, scale_factor_width=2),
        lambda x: nearest(x, (15, 8), 0),
        (X,),
    ),
    Case(
        "upsample_nearest_neighbor",
        lambda x: mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=1.5, scale_factor_width=2.5
        ),
        lambda x: nearest(x, (7, 10), 0),
        (X,),
        label="fractions",
    ),
    upsample(True, None, (2, 3)),
    upsample(False, None, (2, 3)),
    upsample(False, False, (2, 3)),
    upsample(False, True, (1.5, 2.5)),
    resize([9, 7], 2, (9, 7)),
    resize([1, 0, 6], 2, (5, 6), sampling_mode="UNALIGN_CORNERS"),
    resize([8, 9], 2, (8, 9), sampling_mode="STRICT_ALIGN_CORNERS", interpolation_mode="LINEAR"),
    resize([8, 7], 2, (8, 7), interpolation_mode="NEAREST_NEIGHBOR"),
    crop_by_roi("ALIGN_CORNERS", (3, 4), indexed=True),
    crop_by_roi("STRICT_ALIGN_CORNERS", (2, 5), indexed=False),
    crop_by_roi("OFFSET_CORNERS", (2, 3), indexed=True),
    crop_by_roi("ALIGN_CORNERS", (1, 1), indexed=True),
    crop_by_boxes("CORNERS_HEIGHT_FIRST", lambda t, w, b, e: (t, w, b, e), BOXES),
    crop_by_boxes("CORNERS_HEIGHT_FIRST", lambda t, w, b, e: (t, w, b, e), OUTSIDE),
    crop_by_boxes("CORNERS_WIDTH_FIRST", lambda t, w, b, e: (w, t, e, b), BOXES, normal=True),
    crop_by_boxes(
        "CENTER_SIZE_HEIGHT_FIRST",
        lambda t, w, b, e: ((t + b) / 2, (w + e) / 2, b - t, e - w),
        BOXES,
        scale=0.25,
    ),
    crop_by_boxes(
        "CENTER_SIZE_WIDTH_FIRST",
        lambda t, w, b, e: ((w + e) / 2, (t + b) / 2, e - w, b - t),
        BOXES,
    ),
]


@cases(CASES)
def test_every_output_is_sampled_where_the_formula_says(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


def test_the_grids_are_those_of_the_documentation() -> None:
    printed = {
        "UNALIGN_CORNERS": [0, 0.1, 0.5, 0.9, 1],
        "STRICT_ALIGN_CORNERS": [0, 0.25, 0.5, 0.75, 1],
        "DEFAULT": [0, 0.4, 0.8, 1, 1],
        "OFFSET_CORNERS": [0.1, 0.3, 0.5, 0.7, 0.9],
    }
    for mode, points in printed.items():
        np.testing.assert_allclose(grid(mode, 2, 5), points, atol=1e-12)
