"""Seeded pictures: the same everywhere, like photographs, and normalised by the formula."""

from __future__ import annotations

import numpy as np
import pytest

from attnc.compiler.manifest import Preprocessing
from attnc.compiler.seeded_input import normalise, seeded_input, seeded_pixels

RULE = Preprocessing(
    image_size=(4, 6),
    crop_fraction=1.0,
    interpolation="bicubic",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def test_pixels_are_the_same_on_every_machine() -> None:
    found = seeded_pixels((1, 3, 2, 2), 4)
    assert found.dtype == np.uint8
    assert found.ravel().tolist() == [255, 47, 147, 210, 132, 124, 77, 114, 90, 186, 146, 100]
    np.testing.assert_array_equal(found, seeded_pixels((1, 3, 2, 2), 4))
    assert not np.array_equal(found, seeded_pixels((1, 3, 2, 2), 1))


def test_pixels_are_spread_as_in_photographs() -> None:
    found = seeded_pixels((1, 3, 200, 200), 3)
    assert found.mean() == pytest.approx(118, abs=1)
    assert found.std() == pytest.approx(57, abs=2)  # what would be beyond 0 and 255 is cut off
    assert (found.min(), found.max()) == (0, 255)


def test_normalised_seeds_are_as_large_as_seeded_inputs() -> None:
    pixels = normalise(seeded_pixels((1, 3, 64, 64), 3), RULE)
    assert pixels.std() == pytest.approx(seeded_input((1, 3, 64, 64), 3).std(), abs=0.1)


def test_normalised_pixels_follow_the_formula() -> None:
    pixels = np.arange(2 * 3 * 4 * 6, dtype=np.uint8).reshape(2, 3, 4, 6)
    found = normalise(pixels, RULE)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    for channel in range(3):
        expected = (pixels[:, channel] / 255 - RULE.mean[channel]) / RULE.std[channel]
        np.testing.assert_allclose(found[:, channel], expected, rtol=1e-6, atol=1e-6)
