"""Pictures as Core ML hands them to a program: raw values 0..255 in the declared colour order."""

from __future__ import annotations

import numpy as np
from PIL import Image

from attnc.compiler.errors import UsageError
from attnc.runtimes.coreml.features import Feature
from attnc.runtimes.coreml.types import STORAGE, Array

#: The mode that a picture must have, by colour space.
MODES = {"RGB": "RGB", "BGR": "RGB", "GRAYSCALE": "L", "GRAYSCALE_FLOAT16": "F"}


def picture_values(picture: Image.Image, feature: Feature) -> Array:
    """[1, channels, height, width] values of the feature's type from a picture of its size.

    Raises UsageError where mode or size differ: Core ML scales no picture silently either.
    """
    mode = MODES[feature.colour]
    if picture.mode != mode:
        raise UsageError(
            f"the picture has mode {picture.mode}, not {mode}",
            where=f"input '{feature.name}'",
            remedy=f'picture.convert("{mode}")',
        )
    pixels = np.asarray(picture)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if feature.colour == "BGR":
        planes = planes[::-1]
    values = planes[None].astype(STORAGE[feature.dtype])
    if values.shape not in feature.allowed:
        sizes = " or ".join(f"{shape[3]}x{shape[2]}" for shape in feature.allowed)
        raise UsageError(
            f"the picture is {picture.width}x{picture.height} (width x height), not {sizes}",
            where=f"input '{feature.name}'",
            remedy="resize the picture first",
        )
    return values
