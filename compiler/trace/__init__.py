"""Tracing: from whatever a model comes as to one form of graph.

`trace` takes a listed name, a torch module, `package.module:factory`, an `.onnx` file or a `.pt2`
archive.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from .traced import Batch, TracedModel

__all__ = ["trace"]


def trace(
    source: str | PathLike[str] | nn.Module,
    *,
    image_size: int | tuple[int, int] | None = None,
    batch: Batch = 1,
    num_classes: int | None = None,
    checkpoint: str | PathLike[str] | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> TracedModel:
    """Trace `source` into a graph of standard operators (opset 20, NCHW, float32).

    `image_size` is in pixels, one number or (height, width); `batch` a number or "dynamic". Listed
    models take `num_classes`, `checkpoint`, `seed` and `options`, factories the first two and
    `options` as arguments, modules `checkpoint`. Raises UsageError for input that is wrong,
    UnsupportedError for a model that is beyond us.
    """
    from .tracer import trace_source

    return trace_source(
        source,
        image_size=image_size,
        batch=batch,
        num_classes=num_classes,
        checkpoint=checkpoint,
        seed=seed,
        options=options,
    )
