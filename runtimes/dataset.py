"""Labelled pictures for measuring accuracy: scikit-learn's handwritten digits, or a folder.

Which digits are held out is drawn here, from a fixed seed by the generator that every NumPy has,
because training and measuring must agree on it for good.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.errors import MissingRuntimeError, UsageError
from attnc.compiler.progress import SILENT, Progress
from attnc.runtimes.preprocess import load_picture

DIGITS = "digits"
DIGITS_LABELS = tuple("0123456789")
HELD_OUT, SPLIT_SEED = 0.25, 7
SUFFIXES = {".jpg", ".jpeg", ".png"}
_GREYS = 16  # of the scans: 0 to 16, paper to ink


@dataclass(frozen=True)
class Sample:
    """One picture: `open` gives it as a PIL image in RGB, `label` is the index of its class."""

    name: str
    label: int
    open: Callable[[], Any]


@dataclass(frozen=True)
class Dataset:
    """Pictures in a fixed order; `classes` are the names of all labels."""

    name: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]

    def spread(self, limit: int | None) -> Dataset:
        """At most `limit` pictures, taken evenly from the whole order."""
        count = len(self.samples)
        if limit is None or limit >= count:
            return self
        chosen = [index * count // limit for index in range(limit)]
        return replace(self, samples=tuple(self.samples[index] for index in chosen))


def open_dataset(
    which: str, labels: Sequence[str] | None = None, progress: Progress = SILENT
) -> Dataset:
    """The held-out digits for "digits", else the folder `which`; see `image_folder`."""
    if which == DIGITS:
        return digits("held-out")
    return image_folder(Path(which), labels, progress)


def digits(part: Literal["training", "held-out"]) -> Dataset:
    """One part of the 1,797 scans, as 8x8 pictures of white ink on black.

    Raises MissingRuntimeError if scikit-learn is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise MissingRuntimeError(
            "the digits come with scikit-learn, which is not installed",
            remedy="pip install scikit-learn, or give a folder of pictures: --dataset DIR",
        )
    from sklearn.datasets import load_digits

    loaded = load_digits()
    labels = np.asarray(loaded.target, np.int64)
    held = held_out(labels)
    indexes = np.flatnonzero(held if part == "held-out" else ~held)
    pixels = np.rint(np.asarray(loaded.images) * (255 / _GREYS)).astype(np.uint8)
    samples = tuple(
        Sample(f"digit-{index:04d}", int(labels[index]), _grey(pixels[index])) for index in indexes
    )
    return Dataset(DIGITS, DIGITS_LABELS, samples)


def held_out(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which samples are never trained on: of each class the same share, by a fixed seed."""
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        draws = np.random.Philox(key=[SPLIT_SEED, int(label)]).random_raw(len(members))
        ranked = np.argsort(draws, kind="stable")
        held[members[ranked[: round(HELD_OUT * len(members))]]] = True
    return held


def _grey(pixels: NDArray[np.uint8]) -> Callable[[], Any]:
    def opened() -> Any:
        from PIL import Image

        return Image.fromarray(pixels).convert("RGB")

    return opened


def image_folder(
    folder: Path, labels: Sequence[str] | None = None, progress: Progress = SILENT
) -> Dataset:
    """The pictures in `folder`/<class>/, by class and name.

    Classes have the order of `labels` if there are any, else that of their sorted names. Every
    picture is opened once, so that a damaged one is told before anything runs. Raises UsageError if
    there are none, one cannot be read, or a folder is none of the labels.
    """
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is no folder of pictures, and no dataset is called so",
            remedy=f"--dataset {DIGITS}, or a folder with a folder of pictures for each class",
        )
    named = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    if not named:
        raise UsageError(
            f"{folder} holds no folders; each class needs its own",
            where=str(folder),
            remedy="put the pictures into FOLDER/<class name>/, as in pets/cat/001.jpg",
        )
    classes = _classes(folder, [path.name for path in named], labels)
    found = [(path, classes.index(group.name)) for group in named for path in _pictures(group)]
    progress.stage(f"reading the pictures of {folder.name}", len(found))
    for path, _ in found:
        load_picture(path)
        progress.advance()
    samples = [
        Sample(f"{path.parent.name}/{path.name}", label, _file(path)) for path, label in found
    ]
    return Dataset(folder.name or str(folder), classes, tuple(samples))


def _classes(folder: Path, names: Sequence[str], labels: Sequence[str] | None) -> tuple[str, ...]:
    if labels is None:
        return tuple(names)
    unknown = [name for name in names if name not in labels]
    if unknown:
        raise UsageError(
            f"the bundle has no class {unknown[0]!r}",
            where=str(folder / unknown[0]),
            remedy=f"name the folders as the bundle's labels: {_some(labels)}",
        )
    return tuple(labels)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _pictures(group: Path) -> list[Path]:
    found = sorted(path for path in group.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise UsageError(
            f"the class {group.name} has no pictures ({', '.join(sorted(SUFFIXES))})",
            where=str(group),
            remedy="add some, or remove the folder",
        )
    return found


def _file(path: Path) -> Callable[[], Any]:
    return lambda: load_picture(path)
