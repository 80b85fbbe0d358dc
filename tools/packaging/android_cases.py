"""Small pictures that Pillow scaled, as lines of text: what Kotlin is held to on any computer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from attnc.compiler.manifest import Preprocessing
from attnc.runtimes.preprocess import fit
from attnc.tools.packaging.pictures import ORIENTATION_TAG, Pixels, waves

FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
SIZES = ((29, 17), (17, 23), (9, 8))


class Case(NamedTuple):
    """A picture (width, height), the size wanted, and how to get there."""

    size: tuple[int, int]
    target: tuple[int, int] = (11, 12)
    orientation: int = 1
    crop: float = 0.875
    filter: str = "bicubic"


def cases() -> list[Case]:
    """Every filter at sizes that shrink and grow, and every orientation."""
    filtered = [Case(size, filter=name) for size in SIZES for name in FILTERS]
    return [*filtered, *(Case(SIZES[0], orientation=number) for number in range(2, 9))]


def fitted(pixels: Pixels, case: Case) -> Pixels:
    """[H,W,3]: what our preprocessing makes of stored pixels [h,w,3]."""
    image = Image.fromarray(pixels)
    image.getexif()[ORIENTATION_TAG] = case.orientation
    rule = Preprocessing(
        image_size=(case.target[1], case.target[0]),
        crop_fraction=case.crop,
        interpolation=case.filter,  # type: ignore[arg-type]  # checked by the model
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    return np.asarray(fit(ImageOps.exif_transpose(image), rule), np.uint8)


def line_of(case: Case, pixels: Pixels) -> str:
    """Sizes, orientation, crop, filter, then both pictures in hexadecimal."""
    numbers = f"{case.size[0]} {case.size[1]} {case.target[0]} {case.target[1]}"
    made = fitted(pixels, case).tobytes().hex()
    how = f"{case.orientation} {case.crop} {case.filter}"
    return f"{numbers} {how} {pixels.tobytes().hex()} {made}"


def case_lines() -> list[str]:
    """One line for each case."""
    return [line_of(case, waves(*case.size)) for case in cases()]
