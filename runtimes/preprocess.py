"""From a picture file to the model's input, by the rule in the manifest.

What can be converted exactly is (greyscale, palette, opaque alpha, EXIF rotation); what would need
a guess (16-bit, CMYK, transparency, animations, specks) is refused with the way out.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import Preprocessing
from attnc.compiler.seeded_input import normalise

MINIMUM_SIDE = 8  # pixels; below that a picture shows nothing that could be classified
LONGEST_SIDE = 32768  # after scaling, which bounds the memory that a strip can take
_EXACT = {"1", "L", "P", "RGB", "LA", "PA", "RGBA", "RGBX"}


def load_picture(path: Path) -> Any:
    """Open a picture as a PIL image in RGB, upright. Raises UsageError if it cannot be exact."""
    from PIL import Image, ImageOps

    if not path.is_file():
        raise UsageError(f"no picture at {path}")
    try:
        with Image.open(path) as image:
            _refuse_inexact(image, path)
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _to_rgb(upright, path)
    except Image.DecompressionBombError as error:
        raise UsageError(f"{path} is too large a picture: {error}", where=str(path)) from error
    except UsageError:
        raise
    except Exception as error:  # decoders fail in many ways on damaged files
        raise UsageError(
            f"{path} is not a picture that can be read: {error}", where=str(path)
        ) from error


def _refuse_inexact(image: Any, path: Path) -> None:
    width, height = image.size
    if min(width, height) < MINIMUM_SIDE:
        raise UsageError(
            f"{path} is {width}x{height} pixels, too small to show anything",
            remedy=f"give a picture of at least {MINIMUM_SIDE} pixels on each side",
        )
    if _is_deep(image):
        raise UsageError(
            f"{path} has more than 8 bits per channel",
            remedy="convert it to 8 bits first, with the tone curve that you mean",
        )
    if image.mode not in _EXACT:
        raise UsageError(
            f"{path} is a {image.mode} picture, which has no exact RGB form",
            remedy="convert it to 8-bit RGB first, with its colour profile",
        )
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise UsageError(
            f"{path} has {image.n_frames} frames", remedy="give one frame as a picture of its own"
        )


def _is_deep(image: Any) -> bool:
    """Whether the file holds more than 8 bits; Pillow cuts 16-bit RGB down without a word."""
    if image.mode[:1] in {"I", "F"}:
        return True
    return any(";16" in str(part) for tile in image.tile for part in tile)


def _to_rgb(image: Any, path: Path) -> Any:
    if "transparency" in image.info or image.mode in {"LA", "PA", "RGBA"}:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            raise UsageError(
                f"{path} is partly transparent, and what is behind it is not known",
                remedy="put it on a background first",
            )
    return image.convert("RGB")


def preprocess(image: Any, rule: Preprocessing) -> NDArray[np.float32]:
    """RGB picture to float32 [1, 3, H, W], normalised."""
    return normalise(pixels_of(fit(image, rule)), rule)


def pixels_of(image: Any) -> NDArray[np.uint8]:
    """[1, 3, H, W] of an RGB picture."""
    return np.ascontiguousarray(np.asarray(image, np.uint8).transpose(2, 0, 1)[None])


def fit(image: Any, rule: Preprocessing) -> Any:
    """The picture scaled to cover and cut to the rule's size, in RGB."""
    from PIL import Image

    height, width = rule.image_size
    filters = {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
    size = covering_size(image.size, (width, height), rule.crop_fraction)
    if max(size) > LONGEST_SIDE:
        raise UsageError(
            f"the picture ({image.width}x{image.height}) is too long and narrow",
            remedy="cut out the part that matters",
        )
    # Rows first: newer Pillows do high pictures the other way round, and round to other pixels.
    for step in ((size[0], image.height), size):
        if step != image.size:
            image = image.resize(step, filters[rule.interpolation])
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    return image.crop((left, top, left + width, top + height))


def covering_size(
    picture: tuple[int, int], target: tuple[int, int], crop_fraction: float
) -> tuple[int, int]:
    """Size (width, height) of the picture, same proportions, that covers target / crop_fraction."""
    wanted = [max(size, math.floor(size / crop_fraction + 0.5)) for size in target]
    scale = max(want / size for want, size in zip(wanted, picture, strict=True))
    width, height = (
        max(want, round(size * scale)) for want, size in zip(wanted, picture, strict=True)
    )
    return width, height
