"""Reference pictures: one specification of preprocessing that every platform is held to.

They are made by formula, with edges and waves that tell filters and shifts apart, and written in
forms that every decoder reads alike: PNG, and JPEG of grey 8x8 blocks that are flat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
ORIENTATION_TAG = 0x0112
#: As phones save a picture that was taken upright: turn it clockwise.
TURN_CLOCKWISE = 6
BLOCK = 8  # pixels; the side of JPEG's blocks


@dataclass(frozen=True)
class ReferencePicture:
    """`save` writes the file; `refused` names the rule by which it is no input, if there is one."""

    file: str
    shows: str
    save: Callable[[Path], None]
    refused: str = ""


def waves(width: int, height: int) -> Pixels:
    """[H,W,3]: a slanted wave, rings, and a board of hard edges."""
    v, u = np.mgrid[0.5:height, 0.5:width] / np.array([height, width])[:, None, None]
    slanted = 127.5 + 120 * np.sin(2 * np.pi * (7 * u + 3 * v))
    rings = 127.5 + 100 * np.sin(2 * np.pi * 11 * np.hypot(u - 0.45, v - 0.55))
    board = np.where((np.floor(13 * u) + np.floor(9 * v)) % 2, 225.0, 40.0)
    made: Pixels = np.rint(np.stack([slanted, rings, board], axis=-1)).astype(np.uint8)
    return made


def flat(pixels: Pixels) -> Pixels:
    """Two values for each channel: large pictures of it make small files."""
    return np.where(pixels > 127, np.uint8(220), np.uint8(30))


def blocks(width: int, height: int) -> Pixels:
    """[H,W] of flat blocks, each a cosine of its own: JPEG keeps them exactly."""
    small = waves(width // BLOCK, height // BLOCK)[..., 0]
    return small.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)


def _png(pixels: Pixels) -> Callable[[Path], None]:
    """Colours are marked as sRGB, so that nobody converts them."""

    def save(path: Path) -> None:
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        if pixels.ndim == 3:
            info.add(b"sRGB", b"\0")
        _image(pixels).save(path, pnginfo=info, optimize=True)

    return save


def _turned_jpeg(pixels: Pixels) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        from PIL import Image

        exif = Image.Exif()
        exif[ORIENTATION_TAG] = TURN_CLOCKWISE
        _image(pixels).save(path, quality=100, exif=exif)

    return save


def _image(pixels: Pixels) -> Any:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(pixels))


def _with_alpha(pixels: Pixels, hole: int) -> Pixels:
    """[H,W,4], opaque but for a corner of `hole` pixels."""
    alpha = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    alpha[:hole, :hole] = 100
    return np.concatenate([pixels, alpha], axis=-1)


def reference_pictures() -> tuple[ReferencePicture, ...]:
    """The set; the first is the one that is classified."""
    return (
        ReferencePicture("landscape.png", "wider than high", _png(waves(320, 240))),
        ReferencePicture("portrait.png", "higher than wide", _png(waves(150, 331))),
        ReferencePicture("tiny.png", "smaller than the input", _png(waves(11, 9))),
        ReferencePicture("huge.png", "many times the input", _png(flat(waves(2048, 1536)))),
        ReferencePicture("grey.png", "one channel", _png(waves(301, 202)[..., 1])),
        ReferencePicture("turned.jpg", "upright by EXIF only", _turned_jpeg(blocks(320, 192))),
        ReferencePicture("opaque.png", "alpha, all opaque", _png(_with_alpha(waves(97, 120), 0))),
        ReferencePicture(
            "transparent.png", "alpha", _png(_with_alpha(waves(97, 120), 20)), "transparent"
        ),
        ReferencePicture("speck.png", "too small to show anything", _png(waves(40, 7)), "tooSmall"),
    )
