"""Preprocessing in two steps, pixels and then numbers, gives what it gave in one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnc.compiler.manifest import Preprocessing
from attnc.runtimes.preprocess import fit, pixels_of, preprocess


def rule(interpolation: Any, crop: float, size: tuple[int, int]) -> Preprocessing:
    return Preprocessing(
        image_size=size,
        crop_fraction=crop,
        interpolation=interpolation,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


def in_one(image: Image.Image, how: Preprocessing, covering: tuple[int, int]) -> Any:
    """Scale to `covering` (width, height), cut the centre out, normalise in float32, as HWC."""
    height, width = how.image_size
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    scaled = image.resize(covering, filters[how.interpolation])
    left, top = round((covering[0] - width) / 2), round((covering[1] - height) / 2)
    values = np.asarray(scaled.crop((left, top, left + width, top + height)), np.float32) / 255
    normal = (values - np.array(how.mean, np.float32)) / np.array(how.std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])


@pytest.mark.parametrize(
    ("interpolation", "crop", "size", "covering"),
    [
        ("bicubic", 0.875, (24, 24), (54, 27)),
        ("bilinear", 0.9, (32, 16), (72, 36)),
        ("bicubic", 1.0, (8, 40), (40, 20)),
    ],
)
def test_the_same_numbers(
    interpolation: str, crop: float, size: tuple[int, int], covering: tuple[int, int]
) -> None:
    values = np.random.default_rng(8).integers(0, 256, (50, 100, 3), np.uint8)
    image, how = Image.fromarray(values), rule(interpolation, crop, size)
    found = preprocess(image, how)
    np.testing.assert_array_equal(found, in_one(image, how, covering))
    picture = fit(image, how)
    assert (picture.mode, picture.size) == ("RGB", (size[1], size[0]))
    assert found.shape == pixels_of(picture).shape == (1, 3, *size)


def test_a_picture_of_the_right_size_stays_as_it_is() -> None:
    values = np.random.default_rng(9).integers(0, 256, (24, 24, 3), np.uint8)
    picture = fit(Image.fromarray(values), rule("bicubic", 1.0, (24, 24)))
    np.testing.assert_array_equal(np.asarray(picture), values)


def test_pixels_of_a_picture() -> None:
    values = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    found = pixels_of(Image.fromarray(values))
    assert (found.dtype, found.shape) == (np.uint8, (1, 3, 2, 3))
    assert found.flags.c_contiguous
    assert found[0, 1, 0, 2] == values[0, 2, 1]
