"""Resized maps, and depth exchanged with space, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from programs import Group, case, fixed

RNG = np.random.default_rng(15)


def real(*shape: int, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


MAP = real(2, 3, 5, 8)
GRID = real(2, 4, 6, 2, low=-1.4, high=1.4)

GROUP = Group(
    [
        case(
            "Resize",
            MAP,
            None,
            None,
            fixed(2, 3, 10, 24),
            mode="linear",
            operations=("resize_bilinear",),
        ),
        case("Resize", MAP, None, fixed(1.0, 1.0, 2.0, 0.5), mode="linear"),
        case(
            "Resize",
            MAP,
            None,
            None,
            fixed(2, 3, 4, 5),
            mode="linear",
            coordinate_transformation_mode="align_corners",
        ),
        case(
            "Resize",
            MAP,
            None,
            None,
            fixed(2, 3, 15, 4),
            mode="linear",
            coordinate_transformation_mode="asymmetric",
        ),
        case(
            "Resize",
            MAP,
            None,
            None,
            fixed(2, 3, 9, 9),
            mode="linear",
            coordinate_transformation_mode="pytorch_half_pixel",
        ),
        case("Resize", MAP, None, None, fixed(10, 16), mode="linear", axes=[2, 3], label="axes"),
        case("Resize", MAP, None, None, fixed(2, 3, 5, 8), operations=()),
        case("Resize", real(2, 3, 8), None, None, fixed(2, 3, 12), mode="linear"),
        case(
            "Resize",
            MAP,
            None,
            fixed(1.0, 1.0, 2.0, 3.0),
            operations=("upsample_nearest_neighbor",),
        ),
        case(
            "Resize",
            MAP,
            None,
            None,
            fixed(2, 3, 10, 16),
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
            operations=("upsample_nearest_neighbor",),
        ),
        case(
            "Resize",
            MAP,
            None,
            None,
            fixed(2, 3, 5, 4),
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
            operations=("slice_by_index",),
        ),
        case(
            "Resize",
            MAP,
            None,
            None,
            fixed(2, 3, 7, 11),
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
            label="uneven",
        ),
        case("Resize", MAP, None, None, fixed(2, 3, 7, 11), nearest_mode="ceil", label="ceil"),
        case(
            "Resize",
            MAP,
            None,
            None,
            fixed(2, 3, 3, 3),
            nearest_mode="round_prefer_ceil",
            label="prefer-ceil",
        ),
        case(
            "Resize",
            MAP,
            None,
            None,
            fixed(2, 3, 9, 13),
            coordinate_transformation_mode="align_corners",
            label="corners",
        ),
        case(
            "Resize",
            MAP,
            None,
            None,
            fixed(2, 3, 10, 24),
            coordinate_transformation_mode="asymmetric",
            label="whole-rounded",
        ),
        case("Resize", MAP, None, None, fixed(4, 3, 5, 8), label="batch"),
        case("Resize", real(5, 8), None, None, fixed(10, 16), label="plane"),
        case("DepthToSpace", real(2, 8, 3, 4), blocksize=2, operations=("depth_to_space",)),
        case(
            "DepthToSpace", real(2, 8, 3, 4), blocksize=2, mode="CRD", operations=("pixel_shuffle",)
        ),
        case("SpaceToDepth", real(2, 3, 4, 6), blocksize=2, operations=("space_to_depth",)),
        case("GridSample", MAP, GRID, operations=("resample",)),
        case("GridSample", MAP, GRID, padding_mode="border", align_corners=1),
        case("GridSample", MAP, GRID, padding_mode="reflection", label="mirror"),
        case(
            "GridSample",
            MAP,
            GRID,
            padding_mode="reflection",
            align_corners=1,
            label="mirror-corners",
        ),
        case("GridSample", MAP, fixed(GRID), mode="nearest"),
    ]
)


@pytest.mark.parametrize("ios", [16, 17, 18])
@pytest.mark.parametrize("index", GROUP.parameters())
def test_operator(index: int, ios: int) -> None:
    GROUP.check(index, ios)


@pytest.mark.parametrize("index", GROUP.parameters())
def test_half_precision(index: int) -> None:
    if GROUP.cases[index].operator != "GridSample":  # its places are too rough in float16
        GROUP.check_half(index)


@pytest.mark.parametrize("index", GROUP.promises())
def test_operations(index: int) -> None:
    GROUP.check_operations(index)


def test_upsample() -> None:
    factors = fixed(1.0, 1.0, 2.0, 3.0)
    group = Group(
        [case("Upsample", MAP, factors), case("Upsample", MAP, factors, mode="linear")], 9
    )
    for index in range(2):
        group.check(index, 16)
