"""The inputs that a Core ML bundle is judged on: pictures or arrays, with what the source gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.manifest import Manifest
from attnc.compiler.seeded_input import normalise, seeded_input, seeded_pixels
from attnc.runtimes.checks import Check, Report
from attnc.runtimes.coreml.features import Shape
from attnc.runtimes.photos import NONE_HERE, find_photos
from attnc.runtimes.preprocess import fit, load_picture, pixels_of

Array = NDArray[Any]
Reference = Callable[[NDArray[np.float32]], Array]
LIVE_SEEDS = (11, 12)


@dataclass(frozen=True)
class Case:
    """`given` goes into the program (a picture or an array), `array` into the source model."""

    name: str
    given: Any
    array: NDArray[np.float32]
    expected: Array
    photo: bool = False


def recorded_cases(bundle: Bundle) -> Iterator[Case]:
    """The inputs whose outputs were recorded at export."""
    for record in bundle.manifest.reference:
        expected = np.load(bundle.path / record.path, allow_pickle=False)
        given, array = seeded(bundle.manifest, record.input_shape, record.seed)
        yield Case(f"recorded-seed{record.seed}", given, array, expected)


def live_cases(
    bundle: Bundle,
    reference: Reference,
    images: Path | None,
    report: Report,
    allowed: Sequence[Shape] = (),
) -> Iterator[Case]:
    """Seeded inputs and photographs with what the source gives now; says what is not there.

    Of several `allowed` shapes of the input the first and the last are taken.
    """
    sizes = bundle.manifest.inputs[0].shape
    ends = (allowed[0], allowed[-1]) if allowed else (tuple(map(int, sizes)),) * 2
    batch = ends[0][0]
    for seed, shape in zip(LIVE_SEEDS, ends, strict=True):
        given, array = seeded(bundle.manifest, shape, seed)
        yield Case(f"source-seed{seed}", given, array, reference(array))
    rule, photos = bundle.manifest.preprocessing, find_photos(images)
    if rule is None or not photos:
        reason = NONE_HERE if rule else "the bundle has no preprocessing rule"
        report.checks.append(Check("photographs", "not-verified", reason=reason))
        return
    for photo in photos:
        picture = fit(load_picture(photo), rule)
        array = np.repeat(normalise(pixels_of(picture), rule), batch, axis=0)
        given = picture if takes_pictures(bundle.manifest) else array
        yield Case(f"photo-{photo.stem}", given, array, reference(array), photo=True)


def takes_pictures(manifest: Manifest) -> bool:
    """Whether the program's input is a picture."""
    return manifest.coreml is not None and manifest.coreml.input == "image"


def seeded(
    manifest: Manifest, shape: tuple[int, ...], seed: int
) -> tuple[Any, NDArray[np.float32]]:
    """The program's input and the source's, made from a seed."""
    rule = manifest.preprocessing
    if not takes_pictures(manifest) or rule is None:
        array = seeded_input(shape, seed)
        return array, array
    from PIL import Image

    pixels = seeded_pixels(shape, seed)
    return Image.fromarray(pixels[0].transpose(1, 2, 0), "RGB"), normalise(pixels, rule)
