"""Where a model looks, drawn over photographs: kept tokens, kept keys, slots as soft segments."""

from __future__ import annotations

import base64
import colorsys
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import Preprocessing
from attnc.compiler.seeded_input import normalise
from attnc.runtimes.photos import NONE_HERE, find_photos
from attnc.runtimes.preprocess import fit, load_picture, pixels_of
from attnc.tools.report.document import Picture
from attnc.tools.report.watching import Looked, Watch, kept_keys

Pixels = NDArray[np.uint8]
#: Of many photographs the first are drawn, of many layers the first, the middle and the last.
MOST_PHOTOS, MOST_LAYERS = 2, 3
#: Bytes of a JPEG; its quality falls until it fits.
MOST_BYTES = 38_000
LEAST_SIDE, LONGEST_SIDE = 192, 384
DROPPED = 0.18  # how bright what is not kept stays
QUERY = (255, 64, 64)


def pictures(bundle: Bundle, watch: Watch, images: Path | None) -> list[Picture]:
    """All views of the first photographs. Raises UsageError without pictures or their rule."""
    rule = bundle.manifest.preprocessing
    photos = find_photos(images)[:MOST_PHOTOS]
    if rule is None or not photos:
        raise UsageError(NONE_HERE if rule else "the bundle has no preprocessing rule")
    batch = bundle.manifest.batch if isinstance(bundle.manifest.batch, int) else 1
    found = []
    for photo in photos:
        shown, array = _prepared(photo, rule, batch)
        looked = watch.look(array)
        found += [
            *kept_tokens(photo.stem, shown, [s for s in looked if s.operator == "SelectTokens"]),
            *kept(photo.stem, shown, [s for s in looked if s.operator.startswith("SparseA")]),
            *slots(photo.stem, shown, [s for s in looked if s.operator == "SlotCluster"]),
        ]
    return found


def _prepared(photo: Path, rule: Preprocessing, batch: int) -> tuple[Pixels, NDArray[np.float32]]:
    fitted = fit(load_picture(photo), rule)
    array = normalise(pixels_of(fitted), rule)
    return np.asarray(fitted, np.uint8), np.repeat(array, batch, axis=0)


def kept_tokens(photo: str, shown: Pixels, seen: Sequence[Looked]) -> Iterable[Picture]:
    """One picture per stage: tokens that were dropped are dark.

    A stage's indices count what the stage before it left, with a fused token last.
    """
    if not seen:
        return
    tokens = seen[0].inputs[0].shape[1] - 1
    grid = _grid(tokens, shown)
    places: list[int | None] = list(range(tokens))
    for stage, each in enumerate(seen, start=1):
        left = [places[place] for place in each.outputs[1][0]]
        places = [*left, *([None] if each.attributes["fuse"] else [])]
        known = [place for place in left if place is not None]
        if grid is None:
            return
        bright = np.full(grid, DROPPED)
        bright.flat[known] = 1.0
        caption = f"{photo}: stage {stage} keeps {len(known)} of {tokens} tokens"
        yield _picture("kept-tokens", photo, caption, _lit(shown, bright))


def kept(photo: str, shown: Pixels, seen: Sequence[Looked]) -> Iterable[Picture]:
    """Keys that the query in the middle keeps: the more heads do, the brighter; it is framed."""
    for layer, each in _some(seen):
        chosen = kept_keys(each)
        grid = _grid(chosen.shape[2] - 1, shown)
        if grid is None:
            return
        row, column = grid[0] // 2, grid[1] // 2
        heads = chosen[:, 1 + row * grid[1] + column, 1:]
        share = heads.mean(axis=0).reshape(grid)
        lit = _lit(shown, DROPPED + (1 - DROPPED) * np.sqrt(share))
        _frame(lit, grid, row, column)
        caption = (
            f"{photo}: {each.module or f'layer {layer}'}, query in row {row + 1}, column "
            f"{column + 1}: {int(heads.any(axis=0).sum())} of {heads.shape[1]} keys kept by any of "
            f"{heads.shape[0]} heads, {figures_of(heads.sum(axis=1).mean())} by each on average"
        )
        yield _picture("kept-keys", photo, caption, lit)


def figures_of(value: float) -> str:
    """A count with one place at most."""
    return f"{value:.1f}".removesuffix(".0")


def slots(photo: str, shown: Pixels, seen: Sequence[Looked]) -> Iterable[Picture]:
    """Each token in the mixed colours of the slots that it takes from."""
    for _, each in _some(seen):
        logits = np.asarray(each.outputs[1][0], np.float64)
        grid = _grid(logits.shape[0], shown)
        if grid is None:
            continue
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        colours = (share @ _colours(logits.shape[1])).reshape(*grid, 3)
        grey = shown.mean(axis=2, keepdims=True)
        mixed = 0.45 * grey + 0.55 * _spread(colours, shown)
        leading = len(set(share.argmax(axis=1)))
        caption = (
            f"{photo}: {each.module}, {logits.shape[1]} slots over {grid[0]} by {grid[1]} tokens; "
            f"{leading} slots lead somewhere"
        )
        yield _picture("slots", photo, caption, mixed.astype(np.uint8))


def _some(seen: Sequence[Looked]) -> list[tuple[int, Looked]]:
    """The first, the middle and the last, with their numbers from 1."""
    if not seen:
        return []
    wanted = sorted({round(p) for p in np.linspace(0, len(seen) - 1, min(MOST_LAYERS, len(seen)))})
    return [(place + 1, seen[place]) for place in wanted]


def _grid(tokens: int, shown: Pixels) -> tuple[int, int] | None:
    from attnc.targets.web.views import grid_of

    found = grid_of(tokens, *shown.shape[:2])
    return (found[0], found[1]) if found else None


def _spread(values: NDArray[Any], shown: Pixels) -> NDArray[Any]:
    """[rows, columns, ...] over the picture's pixels."""
    rows = np.arange(shown.shape[0]) * values.shape[0] // shown.shape[0]
    columns = np.arange(shown.shape[1]) * values.shape[1] // shown.shape[1]
    return np.asarray(values[rows][:, columns])


def _lit(shown: Pixels, bright: NDArray[Any]) -> Pixels:
    return np.asarray(shown * _spread(bright, shown)[..., None], np.uint8)


def _frame(shown: Pixels, grid: tuple[int, int], row: int, column: int) -> None:
    height, width = shown.shape[0] // grid[0], shown.shape[1] // grid[1]
    part = shown[row * height : (row + 1) * height, column * width : (column + 1) * width]
    edge = max(1, min(height, width) // 6)
    for side in (part[:edge], part[-edge:], part[:, :edge], part[:, -edge:]):
        side[:] = QUERY


def _colours(count: int) -> NDArray[np.float64]:
    """Hues far apart, in two brightnesses."""
    found = [
        colorsys.hsv_to_rgb(place * 0.618033988749895 % 1, 0.85, 1.0 if place % 2 else 0.7)
        for place in range(count)
    ]
    return np.asarray(found) * 255


def _picture(kind: Any, photo: str, caption: str, pixels: Pixels) -> Picture:
    from PIL import Image

    factor = max(1, -(-LEAST_SIDE // min(pixels.shape[:2])))
    image = Image.fromarray(pixels)
    if factor > 1:
        size = (image.width * factor, image.height * factor)
        image = image.resize(size, Image.Resampling.NEAREST)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return Picture(
        kind=kind,
        photo=photo,
        caption=caption,
        alternative=f"{_ALTERNATIVES[kind]} {caption}",
        width=image.width,
        height=image.height,
        data="data:image/jpeg;base64," + base64.b64encode(_jpeg(image)).decode(),
    )


_ALTERNATIVES = {
    "kept-tokens": "The photograph, with the tokens darkened that were dropped.",
    "kept-keys": "The photograph, bright where keys are kept, with the query framed in red.",
    "slots": "The photograph in grey, each token in the mixed colours of its slots.",
}


def _jpeg(image: Any) -> bytes:
    """The best quality that fits."""
    for quality in (82, 70, 55, 40, 25):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MOST_BYTES:
            break
    return buffer.getvalue()
