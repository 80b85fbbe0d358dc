"""What a package's own tests compare with: pixels by our preprocessing, scores by the evaluator.

`references.json` beside the pictures is the same for every platform.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.manifest import Preprocessing
from attnc.runtimes.preprocess import fit, load_picture
from attnc.tools.packaging.pictures import ReferencePicture, reference_pictures

FILE_NAME = "references.json"
#: Levels of 255 by which a platform may differ.
LEVELS = 1
GRID = 16  # points on each side that are compared
TOP = 5

#: The logits for a picture of the input's size.
Classify = Callable[[Any], NDArray[np.float32]]


def write_references(
    folder: Path, rule: Preprocessing, classify: Classify, tolerance: float
) -> None:
    """Write the pictures and `references.json` into a new folder.

    `tolerance`: by what share of the largest logit a device's logits may differ.
    """
    folder.mkdir(parents=True)
    pictures = reference_pictures()
    for picture in pictures:
        picture.save(folder / picture.file)
    first = pictures[0].file
    logits = classify(fit(load_picture(folder / first), rule))
    document = {
        "levels": LEVELS,
        "pictures": [_expected(folder, picture, rule) for picture in pictures],
        "classified": {"file": first, **best(logits, tolerance)},
    }
    text = json.dumps(document, sort_keys=True, allow_nan=False)
    (folder / FILE_NAME).write_text(f"{text}\n", encoding="utf-8")


def _expected(folder: Path, picture: ReferencePicture, rule: Preprocessing) -> dict[str, Any]:
    """The values at a grid of points, red, green and blue, row by row."""
    told: dict[str, Any] = {"file": picture.file, "shows": picture.shows}
    if picture.refused:
        return {**told, "refused": picture.refused}
    pixels = np.asarray(fit(load_picture(folder / picture.file), rule))
    rows, columns = (points(size) for size in pixels.shape[:2])
    values = pixels[np.ix_(rows, columns)].reshape(-1)
    return {**told, "rows": rows, "columns": columns, "values": values.tolist()}


def points(size: int) -> list[int]:
    """At most GRID places from the first to the last of `size`."""
    return sorted({int(place) for place in np.linspace(0, size - 1, GRID)})


def best(logits: NDArray[np.float32], tolerance: float) -> dict[str, Any]:
    """The best classes with their softmax scores.

    `log_tolerance` bounds |ln(score / expected)|: twice the bound of a logit, as the sum of all
    moves as well. `first_is_clear`: whether the first class leads by more than that.
    """
    wide = logits.astype(np.float64)
    scores = np.exp(wide - wide.max())
    scores /= scores.sum()
    order = np.argsort(-wide, kind="stable")[:TOP]
    bound = 2 * tolerance * float(np.abs(wide).max())
    lead = float(wide[order[0]] - wide[order[1]]) if len(order) > 1 else np.inf
    return {
        "top": [{"index": int(index), "score": float(scores[index])} for index in order],
        "log_tolerance": bound,
        "first_is_clear": lead > bound,
    }
