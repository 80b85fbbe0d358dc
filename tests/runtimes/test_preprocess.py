"""Pictures of every kind: converted exactly, or refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import Preprocessing
from attnc.runtimes.preprocess import covering_size, load_picture, preprocess

SIDE = 24


@pytest.fixture
def pixels() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (SIDE, 2 * SIDE, 3), np.uint8)


def rule(size: tuple[int, int] = (SIDE, SIDE), crop: float = 1.0, **options: Any) -> Preprocessing:
    mean, std = options.pop("mean", (0.0, 0.0, 0.0)), options.pop("std", (1.0, 1.0, 1.0))
    return Preprocessing(
        image_size=size, crop_fraction=crop, interpolation="bicubic", mean=mean, std=std
    )


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def same(path: Path, expected: Any) -> None:
    loaded = load_picture(path)
    assert loaded.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(loaded), expected)


def test_rgb_is_untouched(tmp_path: Path, pixels: Any) -> None:
    same(saved(Image.fromarray(pixels), tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_goes_to_three_equal_channels(tmp_path: Path, pixels: Any, mode: str) -> None:
    grey = Image.fromarray(pixels).convert("L").convert(mode)
    plane = np.asarray(grey.convert("L"))
    same(saved(grey, tmp_path / "a.png"), np.stack([plane] * 3, axis=-1))


def test_palette_gives_its_colours(tmp_path: Path, pixels: Any) -> None:
    palette = Image.fromarray(pixels).quantize(16)
    same(saved(palette, tmp_path / "a.png"), np.asarray(palette.convert("RGB")))


def test_opaque_alpha_is_dropped(tmp_path: Path, pixels: Any) -> None:
    image = Image.fromarray(pixels)
    image.putalpha(255)
    same(saved(image, tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_refused(tmp_path: Path, pixels: Any, mode: str) -> None:
    image = Image.fromarray(pixels)
    if mode == "P":
        path = saved(image.quantize(16), tmp_path / "a.png", transparency=0)
    else:
        image = image.convert(mode)
        image.putpixel((0, 0), (9, 9, 9, 254) if mode == "RGBA" else (9, 254))
        path = saved(image, tmp_path / "a.png")
    with pytest.raises(UsageError, match="partly transparent"):
        load_picture(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, pixels: Any, orientation: int) -> None:
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(pixels), tmp_path / "a.png", exif=exif)
    same(path, turned[orientation])


def deep_rgb_png(path: Path) -> Path:
    """A 16-bit RGB PNG, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + bytes(6 * SIDE) for _ in range(SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def make_refused(kind: str, folder: Path) -> Path:
    if kind == "16-bit RGB":
        return deep_rgb_png(folder / "a.png")
    if kind == "16-bit grey":
        return saved(Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)), folder / "a.png")
    if kind == "CMYK":
        return saved(Image.new("CMYK", (SIDE, SIDE)), folder / "a.jpg")
    if kind == "1x1":
        return saved(Image.new("RGB", (1, 1)), folder / "a.png")
    if kind == "animation":
        frames = [Image.new("RGB", (SIDE, SIDE), (value, 0, 0)) for value in (0, 255)]
        return saved(frames[0], folder / "a.gif", save_all=True, append_images=frames[1:])
    if kind == "truncated":
        whole = saved(Image.effect_noise((99, 99), 50), folder / "whole.jpg").read_bytes()
        (folder / "a.jpg").write_bytes(whole[: len(whole) // 2])
    elif kind == "text":
        (folder / "a.jpg").write_text("not a picture")
    elif kind == "empty":
        (folder / "a.jpg").write_bytes(b"")
    return folder / "a.jpg"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("16-bit RGB", "more than 8 bits"),
        ("16-bit grey", "more than 8 bits"),
        ("CMYK", "CMYK"),
        ("1x1", "1x1 pixels"),
        ("animation", "2 frames"),
        ("truncated", "not a picture that can be read"),
        ("text", "not a picture that can be read"),
        ("empty", "not a picture that can be read"),
        ("missing", "no picture at"),
    ],
)
def test_what_is_refused_is_named(tmp_path: Path, kind: str, said: str) -> None:
    path = make_refused(kind, tmp_path)
    with pytest.raises(UsageError, match=said) as caught:
        load_picture(path)
    assert str(path) in str(caught.value)


def test_normalisation_and_layout(pixels: Any) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    array = preprocess(Image.fromarray(pixels), rule((SIDE, 2 * SIDE), mean=mean, std=std))
    assert array.shape == (1, 3, SIDE, 2 * SIDE)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    expected = (pixels.astype(np.float64) / 255 - mean) / std
    np.testing.assert_allclose(array[0].transpose(1, 2, 0), expected, atol=1e-6)


def test_centre_is_cut_from_a_picture_of_the_right_height(pixels: Any) -> None:
    array = preprocess(Image.fromarray(pixels), rule())
    expected = pixels[:, SIDE // 2 : SIDE // 2 + SIDE].astype(np.float32) / 255
    np.testing.assert_array_equal(array[0].transpose(1, 2, 0), expected)


@pytest.mark.parametrize(
    ("picture", "target", "crop", "expected"),
    [
        ((500, 400), (224, 224), 0.875, (320, 256)),
        ((400, 500), (224, 224), 0.875, (256, 320)),
        ((300, 300), (192, 320), 1.0, (320, 320)),
        ((256, 256), (256, 256), 1.0, (256, 256)),
    ],
)
def test_picture_covers_the_target(
    picture: tuple[int, int], target: tuple[int, int], crop: float, expected: tuple[int, int]
) -> None:
    assert covering_size(picture, target, crop) == expected


@pytest.mark.parametrize("size", [(17, 400), (400, 17), (8, 8), (333, 221)])
def test_any_proportions_fill_the_input(size: tuple[int, int]) -> None:
    image = Image.fromarray(np.full((size[1], size[0], 3), 128, np.uint8))
    array = preprocess(image, rule((64, 96), 0.9))
    assert array.shape == (1, 3, 64, 96)
    np.testing.assert_allclose(array, 128 / 255, atol=1e-6)


def test_a_strip_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(UsageError, match="too long and narrow"):
        preprocess(Image.new("RGB", (50_000, 9)), rule((224, 224)))
