"""Checks the options of a trace before anything expensive happens."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from attnc.compiler.errors import UsageError

from .traced import Batch, Request


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def check_batch(batch: object) -> Batch:
    """A positive number, or "dynamic"."""
    number = _whole(batch)
    if batch == "dynamic":
        return "dynamic"
    if number is None or number < 1:
        raise UsageError(
            f"batch {batch!r} is neither a positive number nor 'dynamic'",
            remedy="--batch 1, --batch 8, --batch dynamic",
        )
    return number


def check_image_size(size: object) -> tuple[int, int] | None:
    """(height, width) from a number, a pair or None."""
    if size is None:
        return None
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    numbers = [_whole(value) for value in pair]
    if len(numbers) != 2 or any(number is None or number < 1 for number in numbers):
        raise UsageError(
            f"image size {size!r} is not one or two positive numbers of pixels",
            remedy="--image-size 224, or --image-size 320x192 for height x width",
        )
    height, width = (int(number) for number in numbers if number is not None)
    return height, width


def check_request(
    *,
    image_size: object,
    batch: object,
    num_classes: object,
    checkpoint: str | PathLike[str] | None,
    seed: object,
    options: Mapping[str, Any] | None,
) -> Request:
    """The options of `trace`, or UsageError."""
    classes, whole_seed = _whole(num_classes), _whole(seed)
    if num_classes is not None and (classes is None or classes < 1):
        raise UsageError(f"the number of classes must be positive, not {num_classes!r}")
    if whole_seed is None or whole_seed < 0:
        raise UsageError(f"the seed must be a non-negative integer, not {seed!r}")
    return Request(
        image_size=check_image_size(image_size),
        batch=check_batch(batch),
        num_classes=classes,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        seed=whole_seed,
        options=dict(options or {}),
    )


def refuse_weight_options(request: Request, what: str) -> None:
    """UsageError if options came that only make sense where a network is built here."""
    given = {
        "--checkpoint": request.checkpoint is not None,
        "--num-classes": request.num_classes is not None,
        "model options": bool(request.options),
    }
    for name, present in given.items():
        if present:
            raise UsageError(
                f"{name} cannot be applied to {what}: its weights and classes are fixed",
                remedy="leave it out, or give a model name or a factory",
            )
